"""A batch through the engine and back to single answers."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from goodcert.bounds.ball import around_bytes
from goodcert.engine.certificates import Certificates
from goodcert.images.preprocess import Prepared
from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.core.errors import EngineFailed, EngineUnsound, UnsoundModel
from goodcert.serve.repository import predictor
from goodcert.serve.repository.predictor import Answer, IbpWork, predict


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    balls = [around_bytes(rng.integers(0, 256, (1, 4, 6), dtype=np.uint8), 0.01) for _ in range(5)]
    return [Prepared(ball, "upload") for ball in balls]


class Fixed:
    """An engine that always says the same."""

    classes, input_shape, device = 2, (1, 4, 6), "cpu"

    def __init__(self, certificates):
        self.certificates = certificates

    def certify_balls(self, *_):
        return self.certificates

    propagate = certify_balls

    def conclude(self, evaluations):
        return evaluations


TWO = Certificates(
    index=np.array([0, 1]),
    confidence=np.array([0.9, 0.6]),
    confidence_lower_bound=np.array([0.8, 0.5]),
    confidence_upper_bound=np.array([0.95, 0.7]),
    margins=np.array([[[0, 3.0], [-1, 0]], [[0, 1.0], [1, 0]]]),
    method=np.array(["ibp", "crown"]),
)


def test_answers_come_back_in_order_as_plain_numbers(batch):
    assert predict(Fixed(TWO), batch[:2]) == (
        Answer(0, 0.9, 0.8, 0.95, (0,), "ibp"),
        Answer(1, 0.6, 0.5, 0.7, (0, 1), "crown"),
    )


def test_an_image_gets_the_same_answer_alone_and_in_any_batch(batch, make_engine):
    engine = make_engine()
    together = predict(engine, batch)
    assert tuple(predict(engine, [one])[0] for one in batch) == together
    assert predict(engine, batch[::-1]) == together[::-1]


@pytest.mark.parametrize(
    "broken",
    [
        {"confidence_upper_bound": np.array([np.nextafter(0.9, 0), 0.7])},
        {"confidence_lower_bound": np.array([np.nextafter(0.9, 1), 0.5])},
        {"confidence_upper_bound": np.array([np.nan, 0.7])},
        {"confidence_upper_bound": np.array([1.0000001, 0.7])},
    ],
)
def test_one_unsound_image_is_an_error_in_its_own_place_and_its_neighbours_are_not_believed(batch, broken):
    first, second = predict(Fixed(replace(TWO, **broken)), batch[:2])
    assert isinstance(first, EngineUnsound)
    assert isinstance(second, UnsoundModel)


def test_too_few_rows_fail_the_batch(batch):
    async def story():
        batcher = Batcher(IbpWork(Fixed(TWO)), QueueLimits())
        try:
            await batcher.submit_all(batch, size_bytes=1, deadline=math.inf)
        finally:
            await batcher.close()

    with pytest.raises(EngineFailed):
        asyncio.run(story())


@pytest.mark.parametrize("inline", [0, 2**18], ids=["large", "small"])
def test_in_steps_a_batch_gets_the_same_answers_large_or_small(batch, make_engine, monkeypatch, inline):
    monkeypatch.setattr(predictor, "INLINE_NUMBERS", inline)
    engine = make_engine()
    work = IbpWork(engine)
    prepared = work.prepare(batch)
    assert not engine.batches  # the engine's thread has it to do
    done = work.run(prepared)
    assert engine.batches == [len(batch)]
    assert work.finish(done) == predict(engine, batch)
