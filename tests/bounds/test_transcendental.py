"""The margins of functions that nobody rounds correctly: against arbitrary precision, and ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from functions import OPSETS, TRUE
from goodcert.bounds import Unsupported, interval_outputs, transcendental
from graphs import onnx_model, run_onnx

mp = mpmath.mp
POSITIVE = {"Log", "Sqrt"}


def model(op: str, **attributes: Any) -> Any:
    return onnx_model([(op, ["x"], "y", attributes)], {}, ["N"], opset=OPSETS.get(op, 17))


def grid(op: str, count: int) -> NDArray[np.float32]:
    """Dense around 0, over all sizes that matter, and at random."""
    sizes = np.concatenate([np.geomspace(1e-30, 40, count), np.linspace(0, 12, count)[1:]])
    x = sizes if op in POSITIVE else np.concatenate([-sizes[::-1], [0], sizes])
    return np.asarray(x, np.float32)


@pytest.mark.parametrize("op", TRUE)
def test_bounds_contain_the_true_value_and_are_tight(op: str) -> None:
    x = grid(op, 150)
    ((lower,), (upper,)) = interval_outputs(model(op), x, x)
    with mp.workdps(40):
        true = [TRUE[op](mp.mpf(float(value))) for value in x]
        assert all(mp.mpf(float(a)) <= y <= mp.mpf(float(b)) for a, y, b in zip(lower, true, upper, strict=True))
    size = np.maximum(abs(np.array([float(y) for y in true])), np.maximum(1, abs(x)))
    assert (upper - lower <= 8e-6 * size).all()


@pytest.mark.parametrize("op", TRUE)
def test_bounds_contain_what_onnx_runtime_computes_on_a_dense_grid(op: str) -> None:
    x = grid(op, 100_000)
    ((lower,), (upper,)) = interval_outputs(model(op), x, x)
    (computed,) = run_onnx(model(op), x)
    assert ((lower <= computed) & (computed <= upper)).all()


@pytest.mark.parametrize("op", TRUE)
def test_wide_boxes_contain_every_value_between_their_ends(op: str) -> None:
    random = np.random.default_rng(3)
    ends = np.sort(random.normal(scale=4, size=(2, 400)).astype(np.float32), axis=0)
    low, high = abs(ends[:1]).ravel() if op in POSITIVE else ends[0], abs(ends[1])
    low, high = (np.minimum(low, high), np.maximum(low, high)) if op in POSITIVE else ends
    ((lower,), (upper,)) = interval_outputs(model(op), low, high)
    for share in np.linspace(0, 1, 41, dtype=np.float32):
        (computed,) = run_onnx(model(op), np.clip(low + share * (high - low), low, high))
        assert ((lower <= computed) & (computed <= upper)).all()


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_covers_the_bottom_of_its_valley(approximate: str) -> None:
    low, high = np.float32([-1, -0.5, -3]), np.float32([-0.5, 2, -1])
    ((lower,), _) = interval_outputs(model("Gelu", approximate=approximate), low, high)
    assert lower[0] == pytest.approx(-0.17, abs=1e-3)
    assert lower[1] == pytest.approx(-0.1543, abs=1e-3)
    assert lower[2] == pytest.approx(-0.1588, abs=1e-3)


@pytest.mark.parametrize(
    ("bottom", "function"),
    [
        (transcendental.GELU_BOTTOM, TRUE["Gelu"]),
        (transcendental.MISH_BOTTOM, TRUE["Mish"]),
        (transcendental.SWISH_BOTTOM, TRUE["Swish"]),
        (
            transcendental.GELU_TANH_BOTTOM,
            lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
        ),
    ],
)
def test_bottoms_are_where_the_derivative_vanishes(bottom: float, function: Callable[[Any], Any]) -> None:
    with mp.workdps(40):
        assert abs(mp.findroot(lambda x: mp.diff(function, x), bottom) - bottom) < 1e-13


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("scale", [0.1, 5, 100])
@pytest.mark.parametrize("reach", [0, 0.5])
def test_softmax_stays_in_its_bounds(op: str, scale: float, reach: float) -> None:
    random = np.random.default_rng(5)
    x = (random.standard_normal((200, 10)) * scale).astype(np.float32)
    soft = onnx_model([(op, ["x"], "y", {"axis": 1})], {}, ["N", 10])
    low, high = x - np.float32(reach), x + np.float32(reach)
    ((lower,), (upper,)) = interval_outputs(soft, low, high)
    for _ in range(20):
        share = np.round(random.random(x.shape)).astype(np.float32)
        (computed,) = run_onnx(soft, np.clip(low + share * (high - low), low, high))
        assert ((lower <= computed) & (computed <= upper)).all()
    if not reach:
        assert (upper - lower).max() <= 2e-4 * max(1, scale / 10)


@pytest.mark.parametrize(
    ("op", "low", "high"), [("Log", -1, 1), ("Log", 0, 1), ("Sqrt", -1, 1), ("Reciprocal", -1, 1)]
)
def test_a_box_with_points_that_have_no_value_is_refused_by_name(op: str, low: float, high: float) -> None:
    with pytest.raises(Unsupported, match=rf"'node0' \({op}\)"):
        interval_outputs(model(op), np.float32([low]), np.float32([high]))
