"""The metrics: their table, their names, their children."""

from prometheus_client import CollectorRegistry, generate_latest

from goodcert.serve.batching.batcher import BatchRun
from goodcert.serve.telemetry.metrics import Metrics, table_markdown


def test_two_services_in_one_process_do_not_meet():
    Metrics(CollectorRegistry())
    Metrics(CollectorRegistry())


def test_names_start_alike_and_the_table_has_them_all():
    rows = Metrics(CollectorRegistry()).rows
    table = table_markdown()
    for row in rows:
        assert row.name.startswith("goodcert_")
        assert f"| `{row.name}` |" in table


def test_the_names_in_the_table_are_those_that_are_scraped():
    metrics = Metrics(CollectorRegistry())
    text = generate_latest(metrics.registry).decode()
    for row in metrics.rows:
        assert f"# TYPE {row.name} {row.kind}\n" in text


def test_a_child_is_looked_up_once():
    children = Metrics(CollectorRegistry()).rejections
    assert children["not_an_image",] is children["not_an_image",]


def test_a_run_is_recorded_with_the_wait_of_each_image():
    metrics = Metrics(CollectorRegistry())
    metrics.record_run(BatchRun(2, (0.1, 0.2), 0.5))
    value = metrics.registry.get_sample_value
    assert value("goodcert_batch_size_sum") == 2
    assert value("goodcert_stage_seconds_count", {"stage": "queue"}) == 2
    assert value("goodcert_stage_seconds_sum", {"stage": "engine"}) == 0.5
