"""The limits of a bound: every honest evaluation is inside, and little else."""

import numpy as np
import onnx
import pytest

from goodcert import engine, zoo
from goodcert.artifact import read
from goodcert.bounds.ball import Ball, around
from goodcert.bounds.confidence import confidence_upper_bound
from goodcert.bounds.joint import join
from goodcert.bounds.reader import read_graph
from goodcert.bounds.writer import write_graph
from goodcert.engine.bound_limits import BoundLimits
from graphs import Operation, classifier, onnx_model

ODDS: list[Operation] = [
    ("Conv", ["x", "c"], "h", {"kernel_shape": [3, 3]}), ("Relu", ["h"], "r", {}), ("Flatten", ["r"], "f", {}),
    ("Gemm", ["f", "w", "b"], "y", {}),
]  # fmt: skip


def joint() -> onnx.ModelProto:
    random = np.random.default_rng(2)
    constants = {
        "c": random.normal(size=(4, 1, 3, 3)),
        "w": random.normal(size=(144, 1)),
        "b": random.normal(size=1),
    }
    odds = onnx_model(ODDS, {n: x.astype(np.float32) / 3 for n, x in constants.items()}, ["N", 1, 8, 8])
    return write_graph(join(read_graph(classifier(seed=1)), read_graph(odds), 10))


def shipped() -> onnx.ModelProto:
    return read(zoo.folder() / "mnist-good100" / "1" / "model.onnx").model


def balls(shape: tuple[int, ...], epsilon: float, count: int = 12) -> Ball:
    images = np.random.default_rng(5).integers(0, 256, (count, *shape), dtype=np.uint8)
    images[1::3] = images[1::3, :, :1, :1]
    images[2::3] = (images[2::3] > 128) * np.uint8(255)
    return around(images, epsilon)


@pytest.mark.parametrize(
    "make", [lambda: classifier(seed=3), joint, shipped], ids=["classifier", "joint", "shipped"]
)
def test_what_the_engine_computes_is_strictly_inside_and_the_limits_are_close(make) -> None:
    model = make()
    compiled, limits = engine.compile(model, threads=1), BoundLimits(model)
    between = ~np.eye(compiled.classes, dtype=bool)
    for epsilon in (0.0, 0.001, 0.05, 0.3, 1.0):
        ball = balls(compiled.input_shape, epsilon)
        certificates = compiled.certify_balls(ball)
        lowest, highest = limits.around(certificates, ball)
        assert (lowest < certificates.margins)[:, between].all()
        assert (certificates.margins < highest)[:, between].all()
        width = confidence_upper_bound(highest) - confidence_upper_bound(lowest)
        assert width.max() < 0.02


def test_linear_bounds_are_inside_of_theirs() -> None:
    compiled, limits = engine.compile(classifier(seed=6), threads=1), BoundLimits(classifier(seed=6))
    for epsilon in (0.0, 0.005, 0.03):
        ball = balls(compiled.input_shape, epsilon)
        ibp, crown = (compiled.certify_balls(ball, method) for method in ("ibp", "crown"))
        lowest, highest = limits.around(crown, ball)
        assert (lowest <= crown.margins).all()
        assert (crown.margins <= highest).all()
        if epsilon == 0.03:
            assert (confidence_upper_bound(highest) < ibp.confidence_upper_bound).mean() > 0.5


def test_the_bound_of_a_smaller_ball_is_below_the_limit_of_a_larger_one() -> None:
    """So a bound cannot be passed off for a radius that it was not computed for, where the two differ at all."""
    model = classifier(seed=3)
    compiled, limits = engine.compile(model, threads=1), BoundLimits(model)
    small, large = balls(compiled.input_shape, 0.01), balls(compiled.input_shape, 0.02)
    stated = compiled.certify_balls(small).confidence_upper_bound
    low = confidence_upper_bound(limits.around(compiled.certify_balls(large), large).lowest)
    assert (stated < low).mean() > 0.9
