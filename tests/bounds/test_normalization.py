"""Norms by what varies contain what ONNX Runtime computes, where cancellation hurts too; elsewhere they say so."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from goodcert.bounds import interval_outputs
from graphs import onnx_model, run_onnx

SHAPE = (2, 4, 3, 3)
CHANNELS = np.float32([1, -0.5, 3, 0])
NORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "GroupNormalization": ({"num_groups": 2, "epsilon": 1e-3}, {"w": CHANNELS, "b": CHANNELS[::-1].copy()}),
    "InstanceNormalization": ({"epsilon": 1e-3}, {"w": CHANNELS, "b": CHANNELS[::-1].copy()}),
    "LRN": ({"size": 3, "alpha": 0.5, "beta": 0.75}, {}),
    "LayerNormalization": (
        {"axis": 2, "epsilon": 1e-3},
        {"w": np.float32([[1, 2, 3]] * 3), "b": np.float32([-2])},
    ),
    "RMSNormalization": ({"axis": -2}, {"w": np.float32([[1, -2, 0.5]] * 3)}),
}


def model_of(op: str, **changes: Any) -> Any:
    attributes, constants = NORMS[op]
    return onnx_model([(op, ["x", *constants], "y", attributes | changes)], constants, SHAPE, opset=23)


def in_float64(op: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The formula of the operator, written down as it stands in the ONNX reference."""
    attributes, constants = NORMS[op]
    if op == "LRN":
        squares = np.pad(x**2, [(0, 0), (1, 1), (0, 0), (0, 0)])
        return x / (1 + 0.5 / 3 * (squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:])) ** 0.75
    if op == "RMSNormalization":
        y: NDArray[np.float64] = x / np.sqrt((x**2).mean((2, 3), keepdims=True) + float(np.float32(1e-5)))
        return y * constants["w"]
    parts = x.reshape(2, attributes.get("num_groups", 4), -1)
    spread = np.sqrt(parts.var(axis=2, keepdims=True) + float(np.float32(1e-3)))
    standard = ((parts - parts.mean(axis=2, keepdims=True)) / spread).reshape(x.shape)
    own = (-1, 1, 1) if constants["w"].ndim == 1 else constants["w"].shape
    return standard * constants["w"].reshape(own) + constants["b"].reshape(-1, 1, 1)


def points(centre: NDArray[np.float32], reach: np.float32, seed: int) -> list[NDArray[np.float32]]:
    """The centre, corners and random points of the box around it."""
    random = np.random.default_rng(seed)
    shares = [np.zeros(SHAPE), *(random.choice([-1, 1], SHAPE) for _ in range(4)), random.uniform(-1, 1, SHAPE)]
    low, high = centre - reach, centre + reach
    return [np.clip(centre + np.float32(share) * reach, low, high).astype(np.float32) for share in shares]


@pytest.mark.parametrize("op", NORMS)
@given(
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([1e-6, 1.0, 30.0, 1e4]),
    offset=st.sampled_from([0.0, 1.0, 100.0, 1e4]),
    share=st.sampled_from([0.0, 1e-3, 0.1, 1.0]),
)
def test_every_point_of_a_box_stays_in_its_bounds(
    op: str, seed: int, scale: float, offset: float, share: float
) -> None:
    centre = (np.random.default_rng(seed).standard_normal(SHAPE) * scale + offset).astype(np.float32)
    reach = np.float32(share * scale)
    model = model_of(op)
    (lower,), (upper,) = interval_outputs(model, centre - reach, centre + reach)
    for x in points(centre, reach, seed):
        (computed,) = run_onnx(model, x)
        assert (np.isneginf(lower) | (lower <= computed)).all()
        assert (np.isposinf(upper) | (computed <= upper)).all()
        exact = in_float64(op, x.astype(float))
        assert ((lower <= exact) & (exact <= upper)).all()


@pytest.mark.parametrize("op", NORMS)
def test_bounds_are_tight_at_a_point_and_grow_with_the_box(op: str) -> None:
    centre = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    widths = []
    for reach in np.float32([0, 1e-3, 1e-2, 0.1]):
        (lower,), (upper,) = interval_outputs(model_of(op), centre - reach, centre + reach)
        widths.append(float((upper - lower).max()))
    assert widths[0] < 1e-3
    assert widths == sorted(set(widths))
    assert widths[-1] < np.inf


@pytest.mark.parametrize("op", ["GroupNormalization", "InstanceNormalization", "LayerNormalization"])
def test_nothing_is_guaranteed_where_the_variance_may_cancel(op: str) -> None:
    """Equal values far from 0: what float32 makes of mean x^2 - mean^2 may be negative."""
    x = np.full(SHAPE, 1000.1, np.float32)
    (lower,), (upper,) = interval_outputs(model_of(op), x, x)
    assert np.isneginf(lower).all()
    assert np.isposinf(upper).all()


def test_a_root_mean_square_never_cancels() -> None:
    x = np.full(SHAPE, 1000.1, np.float32)
    (lower,), (upper,) = interval_outputs(model_of("RMSNormalization"), x - 2000, x + 2000)
    assert upper.max() <= 2 * 3.001  # the largest scale times the root of the number of values
    assert lower.min() >= -2 * 3.001


def test_a_window_that_slides_over_a_large_channel_carries_its_rounding_along() -> None:
    """A runtime takes the square of the first channel away again, and keeps what that cancelled."""
    x = np.full((1, 5, 1, 1), 0.3, np.float32)
    x[:, 0] = 1000.1
    model = onnx_model([("LRN", ["x"], "y", {"size": 1, "alpha": 1.0})], {}, x.shape)
    (lower,), (upper,) = interval_outputs(model, x, x)
    (computed,) = run_onnx(model, x)
    assert (lower <= computed).all()
    assert (computed <= upper).all()
    exact = x.astype(float) / (1 + x.astype(float) ** 2) ** 0.75
    assert abs(computed - exact)[0, 1:].max() > 1e-4  # as a sum of positive terms it would err by 1e-7
