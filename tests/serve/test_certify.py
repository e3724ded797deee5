"""The heart, without HTTP."""

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from goodcert.serve.batching import Batcher, Limits
from goodcert.serve.certify import INLINE_PIXELS, Certifier, parse_radius
from goodcert.serve.errors import DeadlineExceeded, EngineUnsound, NotAnImage, UnsoundModel
from goodcert.serve.metrics import Metrics
from goodcert.serve.repository import Loader


class Heart:
    """A certifier with one model."""

    def __init__(self, root, make_engine):
        self.metrics = Metrics(CollectorRegistry())
        self.repository = Loader(make_engine, "cpu", None, lambda work: Batcher(work, Limits())).load(root)
        self.model = self.repository.get("tiny")
        self.certifier = Certifier(16_000_000, self.metrics)

    def run(self, *uploads, seconds=30.0, epsilon="0.01"):
        """Certify uploads at once; a list of certificates or errors."""

        async def all_of_them():
            deadline = asyncio.get_running_loop().time() + seconds
            radius = parse_radius(epsilon)
            tasks = [self.certifier.certify(upload, self.model, radius, deadline) for upload in uploads]
            return await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(all_of_them())

    def close(self):
        asyncio.run(self.repository.close())
        self.certifier.close()


@pytest.fixture
def make_heart(tmp_path, write_model, fake_compile):
    made = []

    def make(**changes):
        write_model(tmp_path / "models", **changes)
        made.append(Heart(tmp_path / "models", fake_compile))
        return made[-1]

    yield make
    for heart in made:
        heart.close()


def test_a_certificate_holds_what_was_asked_and_what_was_answered(make_heart, png):
    (certificate,) = make_heart().run(png, epsilon="0.02")
    answer = certificate.answer
    assert certificate.radius.told == 0.02
    assert 1 / 3 <= answer.lower <= answer.confidence <= answer.upper <= 1
    assert certificate.scope == "upload"
    assert answer.index in answer.possible


def test_a_broken_image_among_many_fails_alone(make_heart, png):
    first, broken, last = make_heart().run(png, png[:40], png)
    assert isinstance(broken, NotAnImage)
    assert first.answer == last.answer


def test_an_image_gets_the_same_answer_beside_any_neighbour(make_heart, encode):
    heart = make_heart()
    uploads = [encode(np.random.default_rng(i).integers(0, 256, (4, 6), dtype=np.uint8)) for i in range(20)]
    together = [certificate.answer for certificate in heart.run(*uploads)]
    alone = [heart.run(upload)[0].answer for upload in uploads]
    assert together == alone


def test_a_large_image_gets_the_answer_that_a_small_one_of_the_same_colour_gets(make_heart, encode):
    heart = make_heart(resize="area")
    side = int(INLINE_PIXELS**0.5) * 2
    large, small = (encode(np.full((height, width), 77, np.uint8)) for height, width in [(side, side), (4, 6)])
    one, other = heart.run(large, small)
    assert one.answer.index == other.answer.index
    assert one.answer.confidence == pytest.approx(other.answer.confidence, abs=1e-6)


def test_a_large_image_past_its_deadline_is_given_up(make_heart, encode):
    side = int(INLINE_PIXELS**0.5) * 2
    (error,) = make_heart(resize="area").run(encode(np.zeros((side, side), np.uint8)), seconds=-1)
    assert isinstance(error, DeadlineExceeded)


def test_an_unsound_answer_is_counted_and_ends_the_models_service(make_heart, png):
    heart = make_heart()
    heart.model.engine.break_guarantee = True
    (error,) = heart.run(png)
    assert isinstance(error, EngineUnsound)
    assert heart.metrics.registry.get_sample_value("goodcert_unsound_total") == 1
    heart.model.engine.break_guarantee = False
    (error,) = heart.run(png)
    assert isinstance(error, UnsoundModel)


def test_every_certificate_leaves_its_trace_in_the_metrics(make_heart, png):
    heart = make_heart()
    (certificate,) = heart.run(png)
    value = heart.metrics.registry.get_sample_value
    assert value("goodcert_images_total", {"model": "tiny", "verdict": certificate.verdict}) == 1
    assert value("goodcert_confidence_sum", {"model": "tiny"}) == certificate.answer.confidence
    for stage in ("decode", "total"):
        assert value("goodcert_stage_seconds_count", {"stage": stage}) == 1
