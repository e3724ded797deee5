"""Gauges that are read off the running service."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from goodcert.serve.telemetry.metrics import Metrics
from goodcert.serve.telemetry.vitals import Vitals


class FakeQueue(list):
    def oldest_seconds(self):
        return max(self, default=0.0)


@dataclass
class FakeModel:
    """As much of a served model as gauges show. queues: how long each waiting image has waited."""

    version: str = "1"
    name: str = "tiny"
    sha256: str = "abc"
    sound: bool = True
    device: str = "cpu"
    queues: list[list[float]] = field(default_factory=list)

    @property
    def batchers(self):
        return [FakeQueue(queue) for queue in self.queues]

    @property
    def engine(self):
        return self

    @property
    def metadata(self):
        return self

    method = "GOOD_100"


@dataclass
class FakeRepository:
    models: list[FakeModel]
    refused: tuple[str, ...] = ()

    def all(self):
        return self.models


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def seen(registry):
    """Shows a repository and gives the value of a gauge."""
    metrics = Metrics(registry)

    def see(repository, gpu_memory=None):
        vitals = Vitals(repository, metrics, gpu_memory)
        vitals.refresh()
        return vitals

    return see


def test_the_queues_of_all_versions_add_up_and_the_oldest_counts(seen, registry):
    seen(FakeRepository([FakeModel("1", queues=[[0.5], []]), FakeModel("2", queues=[[0.1, 0.2], [2.0]])]))
    assert registry.get_sample_value("goodcert_queue_items", {"model": "tiny"}) == 4
    assert registry.get_sample_value("goodcert_queue_oldest_seconds", {"model": "tiny"}) == 2.0


def test_an_unsound_model_is_not_ready_and_refused_ones_are_counted(seen, registry):
    seen(FakeRepository([FakeModel(sound=False)], refused=("broken", "worse")))
    assert registry.get_sample_value("goodcert_model_ready", {"model": "tiny", "version": "1"}) == 0
    assert registry.get_sample_value("goodcert_model_unsound", {"model": "tiny", "version": "1"}) == 1
    assert registry.get_sample_value("goodcert_models_refused") == 2


def test_a_model_that_was_removed_is_not_ready_but_not_unsound_either(seen, registry):
    repository = FakeRepository([FakeModel("1"), FakeModel("2", sound=False)])
    vitals = seen(repository)
    repository.models = []
    vitals.refresh()
    for version in ("1", "2"):
        labels = {"model": "tiny", "version": version}
        assert registry.get_sample_value("goodcert_model_ready", labels) == 0
        assert registry.get_sample_value("goodcert_model_unsound", labels) == 0


def test_a_model_that_was_replaced_reads_0_and_its_successor_1(seen, registry):
    repository = FakeRepository([FakeModel(sha256="old")])
    vitals = seen(repository)
    repository.models = [FakeModel(sha256="new")]
    vitals.refresh()
    info = {"model": "tiny", "version": "1", "method": "GOOD_100"}
    values = [registry.get_sample_value("goodcert_model_info", info | {"sha256": sha}) for sha in ("old", "new")]
    assert values == [0, 1]
    assert registry.get_sample_value("goodcert_model_ready", {"model": "tiny", "version": "1"}) == 1


def test_the_memory_of_a_gpu_is_asked_for_only_where_a_model_uses_one(seen, registry):
    seen(FakeRepository([FakeModel()]), lambda: pytest.fail("there is no GPU"))
    assert registry.get_sample_value("goodcert_gpu_memory_bytes", {"state": "used"}) is None
    seen(FakeRepository([FakeModel(device="cuda")]), lambda: (3, 8))
    assert registry.get_sample_value("goodcert_gpu_memory_bytes", {"state": "used"}) == 3
    assert registry.get_sample_value("goodcert_gpu_memory_bytes", {"state": "total"}) == 8


def test_the_queue_is_seen_while_the_engine_runs(start, png):
    with start(max_batch=1) as service:
        engine = service.engines[0]
        engine.gate.clear()
        with ThreadPoolExecutor(3) as callers:
            answers = [callers.submit(service.certify, png) for _ in range(3)]
            assert engine.entered.wait(30)
            while service.metric("goodcert_queue_items", model="tiny") != 2:
                pass  # the other two are on their way
            assert service.metric("goodcert_queue_oldest_seconds", model="tiny") > 0
            engine.gate.set()
            assert {answer.result().status_code for answer in answers} == {200}
        assert service.metric("goodcert_queue_items", model="tiny") == 0
        assert service.metric("goodcert_queue_oldest_seconds", model="tiny") == 0
