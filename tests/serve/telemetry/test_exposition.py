"""The metrics as they are scraped: without holding up others, on a port of their own, of several processes."""

import asyncio
import os
import subprocess
import sys
import urllib.request

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from goodcert.serve.telemetry.exposition import Exposition, own_port

TWO_PROCESSES = """
import os
from prometheus_client import CollectorRegistry
from goodcert.serve.telemetry.exposition import forget, merged
from goodcert.serve.telemetry.metrics import Metrics

def count(sound):
    metrics = Metrics(CollectorRegistry())
    metrics.requests["tiny", "200"].inc(2)
    metrics.stages["total",].observe(0.25)
    metrics.queue_items["tiny",].set(3)
    metrics.queue_oldest["tiny",].set(0.5 if sound else 0.25)
    metrics.model_ready["tiny", "1"].set(sound)
    metrics.model_unsound["tiny", "1"].set(not sound)
    return os.getpid()

child = os.fork()
if not child:
    count(sound=False)
    os._exit(0)
os.waitpid(child, 0)
count(sound=True)
value = merged().get_sample_value
tiny = {"model": "tiny"}

def shown():
    return [
        value("goodcert_requests_total", {**tiny, "code": "200"}),
        value("goodcert_stage_seconds_count", {"stage": "total"}),
        value("goodcert_queue_items", tiny),
        value("goodcert_queue_oldest_seconds", tiny),
        value("goodcert_model_ready", {**tiny, "version": "1"}),
        value("goodcert_model_unsound", {**tiny, "version": "1"}),
    ]

print(shown())
forget(child)
print(shown())
"""


def test_other_work_is_done_between_one_metric_and_the_next():
    registry = CollectorRegistry()
    for number in range(10):
        Gauge(f"metric_{number}", "A metric.", registry=registry)
    turns = 0

    async def scrape():
        nonlocal turns
        rendering = asyncio.ensure_future(Exposition(registry, lambda: None).render())
        while not rendering.done():
            turns += 1
            await asyncio.sleep(0)
        return rendering.result()

    assert asyncio.run(scrape()) == generate_latest(registry)
    assert turns >= 10


def test_gauges_are_read_off_before_they_are_shown():
    registry = CollectorRegistry()
    gauge = Gauge("metric", "A metric.", registry=registry)
    text = asyncio.run(Exposition(registry, lambda: gauge.set(7)).render())
    assert b"metric 7.0" in text


def test_a_port_of_its_own_shows_the_same(free_port):
    registry = CollectorRegistry()
    Gauge("metric", "A metric.", registry=registry).set(7)
    with own_port(registry, "127.0.0.1", free_port):
        text = urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics").read()
    assert b"metric 7.0" in text


def test_several_processes_are_added_up_and_the_gauges_of_the_dead_forgotten(tmp_path):
    """Counts add up, queues add up, the oldest is the oldest of all, and one unsound process speaks for all."""
    told = subprocess.run(
        [sys.executable, "-c", TWO_PROCESSES],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["[4.0, 2.0, 6.0, 0.5, 0.0, 1.0]", "[4.0, 2.0, 3.0, 0.5, 1.0, 0.0]"]
