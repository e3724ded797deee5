"""The self-check refuses an engine whose bounds are not those of its predictions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert import engine
from goodcert.bounds.ball import Ball
from goodcert.engine import Engine, EngineError
from goodcert.engine.engine import Bounds
from goodcert.engine.selfcheck import check
from graphs import classifier

Parts = tuple[NDArray[np.float64], ...]


@pytest.fixture(scope="module")
def honest() -> Engine:
    return engine.compile(classifier(seed=1), threads=1)


def bounds_of(certifier: Engine) -> Bounds:
    def bounds(ball: Ball) -> Parts:
        c = certifier.certify_balls(ball)
        return c.confidence_upper_bound, c.confidence_lower_bound, c.margins

    return bounds


def sabotaged(honest: Engine, harm: Callable[[Parts, Ball], Parts], device: str = "cpu") -> Engine:
    bounds = bounds_of(honest)
    return Engine(honest.logits, lambda ball: harm(bounds(ball), ball), honest.classes, honest.input_shape, device)


def test_an_honest_engine_passes(honest: Engine) -> None:
    check(sabotaged(honest, lambda parts, _: parts))


@pytest.mark.parametrize("factor", [1 - 1e-3, 0.9, np.nan])
def test_an_upper_bound_that_was_lowered_is_refused(honest: Engine, factor: float) -> None:
    with pytest.raises(EngineError, match="out of order"):
        check(sabotaged(honest, lambda parts, _: (parts[0] * factor, *parts[1:])))


def test_a_lower_bound_that_was_raised_is_refused(honest: Engine) -> None:
    with pytest.raises(EngineError, match="out of order"):
        check(sabotaged(honest, lambda parts, _: (parts[0], np.minimum(parts[1] * 1.01, 1), parts[2])))


@pytest.mark.parametrize("less", [1e-4, 0.1, np.nan])
def test_margins_that_were_lowered_are_refused(honest: Engine, less: float) -> None:
    away = less * (1 - np.eye(honest.classes))
    with pytest.raises(EngineError, match="disagree"):
        check(sabotaged(honest, lambda parts, _: (*parts[:2], parts[2] - away)))


def test_bounds_of_a_smaller_ball_are_refused(honest: Engine) -> None:
    bounds = bounds_of(honest)

    def shrunk(_: Parts, ball: Ball) -> Parts:
        return bounds(Ball(ball.point, ball.point, ball.point))

    with pytest.raises(EngineError, match="disagree"):
        check(sabotaged(honest, shrunk))


def test_bounds_of_other_weights_are_refused(honest: Engine) -> None:
    other = engine.compile(classifier(seed=2), threads=1)
    with pytest.raises(EngineError, match=r"disagree|out of order"):
        check(Engine(honest.logits, bounds_of(other), honest.classes, honest.input_shape, "cpu"))


def test_bits_that_depend_on_the_batch_are_refused_where_they_are_promised(honest: Engine) -> None:
    def jitter(parts: Parts, ball: Ball) -> Parts:
        return (*parts[:2], parts[2] + 1e-9 * len(ball.point) * (1 - np.eye(honest.classes)))

    with pytest.raises(EngineError, match="other bits"):
        check(sabotaged(honest, jitter))
    check(sabotaged(honest, jitter, device="cuda"))


def test_bounds_that_depend_on_the_neighbours_are_refused_everywhere(honest: Engine) -> None:
    """A graph that couples images disagrees with itself in another batch; no device excuses that."""

    def coupled(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = honest.logits(images)
        return logits + np.arange(10, dtype=np.float32) * (logits - logits.mean(axis=0))

    certifier = Engine(coupled, bounds_of(honest), honest.classes, honest.input_shape, "cuda")
    with pytest.raises(EngineError):
        check(certifier)


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
