"""The self-check refuses an engine whose bounds are not those of its predictions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert import engine
from goodcert.bounds.ball import Ball
from goodcert.engine import Certificates, Engine, EngineError, Method
from goodcert.engine.checks.selfcheck import check
from goodcert.engine.engine import Evaluation
from graphs import classifier

Harm = Callable[[Certificates, Ball], Certificates]


class Sabotaged(Engine):
    """An honest engine whose certificates somebody has been at."""

    def __init__(self, honest: Engine, harm: Harm, device: str = "cpu") -> None:
        super().__init__(honest.logits, honest.evaluate, honest.classes, honest.input_shape, device)
        self._harm = harm

    def certify_balls(self, ball: Ball, method: Method = "ibp", threshold: float | None = None) -> Certificates:
        return self._harm(super().certify_balls(ball, method, threshold), ball)


@pytest.fixture(scope="module")
def honest() -> Engine:
    return engine.compile(classifier(seed=1), threads=1)


def test_an_honest_engine_passes(honest: Engine) -> None:
    check(Sabotaged(honest, lambda certificates, _: certificates))


@pytest.mark.parametrize("factor", [1 - 1e-3, 0.9, np.nan])
def test_an_upper_bound_that_was_lowered_is_refused(honest: Engine, factor: float) -> None:
    with pytest.raises(EngineError, match="out of order"):
        check(Sabotaged(honest, lambda c, _: replace(c, confidence_upper_bound=c.confidence_upper_bound * factor)))


def test_a_lower_bound_that_was_raised_is_refused(honest: Engine) -> None:
    def raised(c: Certificates, _: Ball) -> Certificates:
        return replace(c, confidence_lower_bound=np.minimum(c.confidence_lower_bound * 1.01, 1))

    with pytest.raises(EngineError, match="out of order"):
        check(Sabotaged(honest, raised))


@pytest.mark.parametrize("less", [1e-4, 0.1, np.nan])
def test_margins_that_were_lowered_are_refused(honest: Engine, less: float) -> None:
    away = less * (1 - np.eye(honest.classes))
    with pytest.raises(EngineError, match="disagree"):
        check(Sabotaged(honest, lambda c, _: replace(c, margins=c.margins - away)))


def test_bounds_of_a_smaller_ball_are_refused(honest: Engine) -> None:
    def shrunk(_: Certificates, ball: Ball) -> Certificates:
        return honest.certify_balls(Ball(ball.point, ball.point, ball.point))

    with pytest.raises(EngineError, match="disagree"):
        check(Sabotaged(honest, shrunk))


def test_bounds_of_other_weights_are_refused(honest: Engine) -> None:
    other = engine.compile(classifier(seed=2), threads=1)

    def exchanged(ball: Ball) -> Evaluation:
        return Evaluation(honest.logits(ball.point), other.evaluate(ball).margins)

    with pytest.raises(EngineError, match=r"disagree|out of order"):
        check(Engine(honest.logits, exchanged, honest.classes, honest.input_shape, "cpu"))


def test_bits_that_depend_on_the_batch_are_refused_where_they_are_promised(honest: Engine) -> None:
    def jitter(c: Certificates, ball: Ball) -> Certificates:
        return replace(c, margins=c.margins + 1e-9 * len(ball.point) * (1 - np.eye(honest.classes)))

    with pytest.raises(EngineError, match="other bits"):
        check(Sabotaged(honest, jitter))
    check(Sabotaged(honest, jitter, device="cuda"))


def test_bounds_that_depend_on_the_neighbours_are_refused_everywhere(honest: Engine) -> None:
    """A graph that couples images disagrees with itself in another batch; no device excuses that."""

    def coupled(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = honest.logits(images)
        return logits + np.arange(10, dtype=np.float32) * (logits - logits.mean(axis=0))

    def evaluate(ball: Ball) -> Evaluation:
        return Evaluation(coupled(ball.point), honest.evaluate(ball).margins)

    with pytest.raises(EngineError):
        check(Engine(coupled, evaluate, honest.classes, honest.input_shape, "cuda"))


@pytest.mark.parametrize("field", ["confidence_lower_bound", "confidence", "confidence_upper_bound"])
def test_a_certificate_out_of_order_by_one_ulp_is_not_sound(honest: Engine, field: str) -> None:
    certificates = honest.certify(np.zeros((1, *honest.input_shape), np.uint8), 0.1)
    assert certificates.sound().all()
    level = np.array([0.5])
    same = replace(certificates, confidence_lower_bound=level, confidence=level, confidence_upper_bound=level)
    assert same.sound().all()
    ulp = np.nextafter(level, 0 if field == "confidence_upper_bound" else 1)
    assert not replace(same, **{field: ulp}).sound().any()
    assert not replace(same, **{field: np.array([np.nan])}).sound().any()
    assert not replace(same, confidence_upper_bound=np.array([np.nextafter(1, 2)])).sound().any()
