"""Histograms that add up later show what prometheus_client's own do, whoever asks and whenever."""

import threading

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from goodcert.serve.telemetry.histogram import MANY, Histogram

BUCKETS = (0.1, 0.5, 1)


def shown(registry: CollectorRegistry) -> list[str]:
    """Without the time at which a metric was made."""
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(st.lists(st.sampled_from([0, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 2.5]), max_size=3 * MANY), st.booleans())
def test_it_shows_what_the_library_shows(amounts: list[float], labelled: bool) -> None:
    texts = []
    for kind in (prometheus_client.Histogram, Histogram):
        registry = CollectorRegistry()
        labels = ("model",) if labelled else ()
        metric = kind("seconds", "How long.", labels, registry=registry, buckets=BUCKETS)
        child = metric.labels("a") if labelled else metric
        for amount in amounts:
            child.observe(amount)
        texts.append(shown(registry))
    assert texts[0] == texts[1]


def test_what_waits_is_counted_by_hand() -> None:
    registry = CollectorRegistry()
    metric = Histogram("seconds", "How long.", registry=registry, buckets=BUCKETS)
    for amount in (0.1, 0.25, 0.5, 4):
        metric.observe(amount)
    counts = [registry.get_sample_value("seconds_bucket", {"le": le}) for le in ("0.1", "0.5", "1.0", "+Inf")]
    assert counts == [1, 3, 3, 4]
    assert registry.get_sample_value("seconds_sum") == 4.85


def test_nothing_is_lost_while_another_thread_asks() -> None:
    registry, done = CollectorRegistry(), threading.Event()
    metric = Histogram("seconds", "How long.", registry=registry, buckets=BUCKETS)

    def ask() -> None:
        while not done.is_set():
            generate_latest(registry)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(20_000):
        metric.observe(0.25)
    done.set()
    asking.join()
    assert registry.get_sample_value("seconds_count") == 20_000


def test_all_children_add_up_when_told() -> None:
    metric = Histogram("seconds", "How long.", ("model",), registry=CollectorRegistry(), buckets=BUCKETS)
    metric.labels("a").observe(0.25)
    metric.labels("b").observe(2)
    metric.add_up()
    assert [metric.labels(name)._sum.get() for name in "ab"] == [0.25, 2]
