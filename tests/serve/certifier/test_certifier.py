"""The heart, without HTTP."""

import asyncio
import os
import threading
from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from goodcert.images.errors import NotAnImage
from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.certifier.certifier import Certifier, Question, parse_radius
from goodcert.serve.certifier.refusal_throttle import INTERVAL_SECONDS
from goodcert.serve.certifier.upload_decoder import INLINE_PIXELS, UploadDecoder
from goodcert.serve.core.errors import (
    CrownUnavailable,
    DeadlineExceeded,
    EngineUnsound,
    QueueFull,
    UnsoundModel,
)
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.repository.predictor import CrownWork, IbpWork
from goodcert.serve.repository.repository import Repository
from goodcert.serve.server import assembly
from goodcert.serve.settings.settings import Settings
from goodcert.serve.telemetry.metrics import Metrics


class Heart:
    """A certifier with one model."""

    def __init__(self, root, make_engine):
        self.metrics = Metrics(CollectorRegistry())
        loader = assembly.loader(Settings(threads=3), make_engine, self.metrics, None)
        self.repository = Repository.open(root, loader)
        self.model = self.repository.get("tiny")
        self.certifier = Certifier(16_000_000, self.metrics)

    def run(self, *uploads, seconds=30.0, epsilon="0.01", method="ibp", search=False):
        """Certify uploads at once; a list of certificates or errors."""

        async def all_of_them():
            deadline = asyncio.get_running_loop().time() + seconds
            question = Question(parse_radius(epsilon), method, search)
            tasks = [self.certifier.certify(upload, self.model, question, deadline) for upload in uploads]
            return await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(all_of_them())

    def close(self):
        asyncio.run(self.repository.close())
        self.certifier.close()


@pytest.fixture
def make_heart(tmp_path, write_model, fake_compile):
    made = []

    def make(methods=("ibp", "crown"), **changes):
        fake_compile.methods = methods
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


def undecided(heart, png):
    """The heart with a model that rejects the image, which ibp cannot certify and crown can."""
    (plain,) = heart.run(png)
    heart.model.metadata = replace(heart.model.metadata, threshold=(1 + plain.answer.upper) / 2)
    heart.model.engine.slack = 10.0
    return heart


def test_large_images_are_decoded_in_as_many_threads_as_the_process_has_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(77)), raising=False)
    assert UploadDecoder(1)._threads._max_workers == 77


def test_crown_is_asked_for_every_image_and_says_so(make_heart, png):
    heart = make_heart()
    first, second = heart.run(png, png, method="crown")
    assert first.answer.method == second.answer.method == "crown"
    assert sum(heart.model.engine.crown_batches) == 2
    assert heart.model.engine.batches == []


def test_crown_bounds_as_many_images_side_by_side_as_the_engine_has_threads(make_heart, png):
    heart = make_heart()
    together = threading.Barrier(3, timeout=30)
    heart.model.engine.sabotage = lambda answer: (together.wait(), answer)[1]  # breaks where one waits alone
    assert {certificate.answer.method for certificate in heart.run(*[png] * 6, method="crown")} == {"crown"}
    assert heart.model.engine.crown_batches == [1] * 6
    assert heart.metrics.registry.get_sample_value("goodcert_stage_seconds_count", {"stage": "crown"}) == 6


def test_an_image_that_crown_takes_long_for_holds_up_no_other(make_heart, png):
    heart = make_heart()
    turns, others_are_done = count(), threading.Event()

    def first_is_last(answer):
        turn = next(turns)
        assert turn or others_are_done.wait(30)
        if turn == 6:
            others_are_done.set()
        return answer

    heart.model.engine.sabotage = first_is_last
    assert {certificate.answer.method for certificate in heart.run(*[png] * 7, method="crown")} == {"crown"}


def test_what_crown_says_beside_an_unsound_answer_is_not_believed(make_heart, png):
    heart = make_heart()
    turns, condemned = count(), threading.Event()

    def first_is_unsound(answer):
        if next(turns) == 0:
            return replace(answer, confidence_upper_bound=answer.confidence / 2)
        assert condemned.wait(30)
        return answer

    condemn, heart.model.engine.sabotage = heart.model.condemn, first_is_unsound
    heart.model.condemn = lambda reason: (condemn(reason), condemned.set())
    assert {type(error) for error in heart.run(png, png, method="crown")} == {EngineUnsound, UnsoundModel}


def test_auto_asks_crown_where_ibp_rejects_and_cannot_certify(make_heart, png):
    heart = undecided(make_heart(), png)
    (ibp,), (auto,) = heart.run(png), heart.run(png, method="auto")
    assert ibp.verdict == Verdict.OUT_OF_DISTRIBUTION
    assert auto.verdict == Verdict.OUT_OF_DISTRIBUTION_CERTIFIED
    assert (ibp.answer.method, auto.answer.method) == ("ibp", "crown")


@pytest.mark.parametrize(("threshold", "slack"), [(0.01, 10.0), (0.999, 0.0)])
def test_auto_leaves_accepted_and_certified_images_to_ibp(make_heart, png, threshold, slack):
    heart = make_heart(threshold=threshold)
    heart.model.engine.slack = slack
    (certificate,) = heart.run(png, method="auto")
    assert certificate.answer.method == "ibp"
    assert heart.model.engine.crown_batches == []


def test_auto_keeps_the_answer_of_ibp_where_the_queue_of_crown_is_full(make_heart, png):
    heart = undecided(make_heart(), png)
    heart.model.crown_batcher = Batcher(CrownWork(heart.model.engine), QueueLimits(max_items=0))
    (certificate,) = heart.run(png, method="auto")
    assert certificate.answer.method == "ibp"
    assert certificate.verdict == Verdict.OUT_OF_DISTRIBUTION
    assert heart.metrics.registry.get_sample_value("goodcert_crown_missed_total") == 1


def test_refusals_beyond_the_rate_are_told_one_after_another(make_heart, png):
    heart = make_heart()
    heart.model.batcher = Batcher(IbpWork(heart.model.engine), QueueLimits(max_items=0))

    async def refused():
        loop = asyncio.get_running_loop()
        with pytest.raises(QueueFull):
            await heart.certifier.certify(png, heart.model, Question(parse_radius("0.01")), loop.time() + 30)

    async def together():
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(refused() for _ in range(11)))
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(together()) >= 9.9 * INTERVAL_SECONDS


def test_crown_past_its_deadline_is_given_up(make_heart, png):
    (error,) = make_heart().run(png, method="crown", seconds=-1)
    assert isinstance(error, DeadlineExceeded)


def test_a_model_without_linear_bounds_refuses_crown_and_auto_falls_back(make_heart, png):
    heart = undecided(make_heart(methods=("ibp",)), png)
    (refused,), (certificate,) = heart.run(png, method="crown"), heart.run(png, method="auto")
    assert isinstance(refused, CrownUnavailable)
    assert certificate.answer.method == "ibp"


def test_an_unsound_answer_of_crown_ends_the_models_service(make_heart, png):
    heart = make_heart()
    heart.model.engine.break_guarantee = True
    (error,) = heart.run(png, method="crown")
    assert isinstance(error, EngineUnsound)
    assert not heart.model.sound


def test_the_bound_at_the_certified_radius_is_at_most_the_threshold_and_just_beyond_is_not(make_heart, png):
    heart = make_heart(threshold=0.999)
    (certificate,) = heart.run(png, search=True)
    radius = certificate.certified_radius
    assert 0 < radius < 1
    at, beyond = (heart.run(png, epsilon=f"{e:.4f}")[0] for e in (radius, radius + 1e-4))
    assert at.answer.upper <= 0.999 < beyond.answer.upper


def test_there_is_no_radius_where_the_model_vouches_and_none_is_searched(make_heart, png):
    heart = make_heart(threshold=0.01)
    (certificate,) = heart.run(png, search=True)
    assert certificate.certified_radius is None
    assert heart.model.engine.batches == [1]


def test_there_is_no_radius_where_not_even_0_is_certified(make_heart, png):
    heart = undecided(make_heart(), png)
    (certificate,) = heart.run(png, search=True)
    assert certificate.certified_radius is None


def test_an_epsilon_that_crown_certifies_is_a_radius_even_where_ibp_finds_less(make_heart, png):
    heart = undecided(make_heart(), png)
    (certificate,) = heart.run(png, method="crown", search=True, epsilon="0.01")
    assert certificate.certified_radius == 0.01


def test_a_search_asks_for_a_digit_at_a_time_in_shared_batches(make_heart, png):
    heart = make_heart(threshold=0.999)
    heart.run(png, search=True)
    assert heart.model.engine.batches == [1, 11, 9, 9, 9]
