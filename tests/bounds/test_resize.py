"""Resized images against ONNX Runtime and against the formulas of the operator, pixel by pixel."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goodcert.bounds import Unsupported, interval_outputs
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT, FLOAT32
from goodcert.bounds.rules import transform_of
from graphs import onnx_model, run_onnx

LINEAR = ["half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric"]
NEAREST = [mode for mode in LINEAR if mode != "half_pixel_symmetric"]
ROUNDING = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def contained(attributes: dict[str, Any], constants: dict[str, Any], shape: tuple[int, ...], seed: int) -> None:
    inputs = ["x", "", "s"] if "s" in constants else ["x", "", "", "z"]
    model = onnx_model([("Resize", inputs, "y", attributes)], constants, shape, opset=19)
    random = np.random.default_rng(seed)
    x, reach = random.standard_normal(shape).astype(np.float32), np.float32(random.choice([0, 0.1]))
    try:
        (lower,), (upper,) = interval_outputs(model, x - reach, x + reach)
    except Unsupported:
        return  # a length, or a pixel of it, that depends on rounding
    for share in (-1, 0, 1, random.uniform(-1, 1, shape)):
        point = np.clip(x + np.float32(share) * reach, x - reach, x + reach)
        (computed,) = run_onnx(model, point)
        assert computed.shape == lower.shape
        assert (lower <= computed).all()
        assert (computed <= upper).all()


sizes = st.integers(1, 40)
seeds = st.integers(0, 2**16)


@given(mode=st.sampled_from(NEAREST), nearest=st.sampled_from(ROUNDING), before=sizes, after=sizes, seed=seeds)
def test_nearest_values_are_those_that_onnx_runtime_picks(
    mode: str, nearest: str, before: int, after: int, seed: int
) -> None:
    attributes = {"coordinate_transformation_mode": mode, "nearest_mode": nearest}
    contained(attributes, {"z": np.array([1, 1, 3, after])}, (1, 1, 3, before), seed)


@given(mode=st.sampled_from(LINEAR), height=sizes, before=sizes, after=sizes, seed=seeds)
def test_interpolated_values_are_in_bounds(mode: str, height: int, before: int, after: int, seed: int) -> None:
    attributes = {"coordinate_transformation_mode": mode, "mode": "linear"}
    contained(attributes, {"z": np.array([1, 2, height, after])}, (1, 2, 5, before), seed)


@given(
    mode=st.sampled_from(LINEAR),
    linear=st.booleans(),
    scale=st.floats(0.25, 5, width=32),
    before=sizes,
    seed=seeds,
)
def test_scales_are_taken_as_they_are_given(mode: str, linear: bool, scale: float, before: int, seed: int) -> None:
    attributes = {"coordinate_transformation_mode": mode, "mode": "linear" if linear else "nearest"}
    contained(attributes, {"s": np.float32([1, 1, 1, scale])}, (1, 1, 4, before), seed)


def resized(values: list[float], attributes: dict[str, Any], scales: Any = None, to: Any = None, **kw: Any) -> Any:
    x = torch.tensor(values)
    node = Node("Resize", ("x", "", "s") if to is None else ("x", "", "", "z"), "y", attributes, "layer")
    constants = (None, None, scales) if to is None else (None, None, None, to)
    return transform_of(node, constants, kw.get("rounding", EXACT))(Interval(x, x))


def test_where_rounding_could_pick_either_neighbour_both_count() -> None:
    """8 pixels of 7, the coordinates (i + 1/2) 7/8 - 1/2: that of i = 0 is -1/16, and none is near a tie. 6 of 14
    is: 7/3 (i + 1/2) - 1/2 = 3 for i = 1, and a float32 scale of 6/14 makes it slightly more or less."""
    values = [float(i) for i in range(14)]
    picked = resized(values, {"nearest_mode": "floor"}, to=torch.tensor([6]), rounding=FLOAT32)
    assert (picked.lower[1], picked.upper[1]) == (2, 3)
    assert (picked.lower[0], picked.upper[0]) == (0, 0)


def test_ties_that_float32_computes_exactly_are_no_doubt() -> None:
    picked = resized([0.0, 1, 2, 3], {}, scales=torch.tensor([0.5]), rounding=FLOAT32)  # coordinates 1/2 and 5/2
    assert picked.lower.tolist() == picked.upper.tolist() == [0, 2]


@pytest.mark.parametrize("mode", ["align_corners", "pytorch_half_pixel"])
def test_a_fraction_of_a_pixel_is_refused_where_runtimes_differ(mode: str) -> None:
    with pytest.raises(Unsupported, match=r"'layer' \(Resize\): expected scales that give a whole number"):
        resized([0.0, 1, 2], {"coordinate_transformation_mode": mode}, scales=torch.tensor([1.5]))


@pytest.mark.parametrize("mode", ["half_pixel", "asymmetric", "half_pixel_symmetric"])
def test_a_scale_that_leaves_the_length_is_refused_as_some_runtimes_copy(mode: str) -> None:
    attributes = {"coordinate_transformation_mode": mode, "mode": "linear"}
    with pytest.raises(Unsupported, match="a scale that changes the length, or 1"):
        resized([1.0, 2.0, 3.0], attributes, torch.tensor([1.25]))


def test_symmetric_coordinates_keep_the_centre() -> None:
    """0.6 of 4 pixels are 2.4, of which 2 are kept; adjusted by 2 (1 - 2 / 2.4) = 1/3: 1/3 + 1/3 and 1/3 + 2."""
    scale = Fraction(float(np.float32(0.6)))
    offset = 2 * (1 - 2 / (4 * scale))
    x = resized([0.0, 1, 2, 3], {"coordinate_transformation_mode": "half_pixel_symmetric", "mode": "linear"},
                scales=torch.tensor([0.6]))  # fmt: skip
    expected = [float(offset + (i + Fraction(1, 2)) / scale - Fraction(1, 2)) for i in range(2)]
    np.testing.assert_allclose(x.lower, expected, rtol=1e-6)
    np.testing.assert_allclose(expected, [2 / 3, 7 / 3], rtol=1e-6)
