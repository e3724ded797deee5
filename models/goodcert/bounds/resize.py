"""Resizing: every output is one input value, or a convex combination of neighbours.

Where an output reads from is a coordinate that a runtime computes in float32, by the formula of the operator;
`_DOUBT` bounds how far that strays from the exact one. Nearest: where another neighbour is within that distance,
the output is one of the two; where every step of the formula is a float32 number there is no doubt. Linear: the
value moves by at most 2 max|x| for every unit of the coordinate.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import ceil, floor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, integers, optional, require, unsupported

ATTRIBUTES = frozenset({
    "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
    "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode",
})  # fmt: skip

_DOUBT = 2.0**-20
"""Times the length of the axis plus 2: the error of a coordinate. It passes at most 8 roundings, those of the
scale included, each 2^-24 of at most that length."""

_LARGEST = 2**14
"""An axis may not be longer, before or after: no doubt then reaches beyond one neighbour."""


class Lengths(NamedTuple):
    """Of one axis, before and after, and the scale between them, which need not be their quotient."""

    before: int
    after: int
    scale: Fraction


Coordinate = Callable[[int, Lengths], Fraction]
"""From the position of an output to the one in the input that it reads."""


def _half_pixel(i: int, axis: Lengths) -> Fraction:
    return (i + Fraction(1, 2)) / axis.scale - Fraction(1, 2)


def _pytorch_half_pixel(i: int, axis: Lengths) -> Fraction:
    return _half_pixel(i, axis) if axis.after > 1 else Fraction(0)


def _half_pixel_symmetric(i: int, axis: Lengths) -> Fraction:
    return Fraction(axis.before, 2) * (1 - axis.after / (axis.scale * axis.before)) + _half_pixel(i, axis)


def _align_corners(i: int, axis: Lengths) -> Fraction:
    return Fraction(i * (axis.before - 1), axis.after - 1) if axis.after > 1 else Fraction(0)


def _asymmetric(i: int, axis: Lengths) -> Fraction:
    return i / axis.scale


_COORDINATES: dict[str, Coordinate] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
}

_NEAREST: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda c: ceil(c - Fraction(1, 2)),
    "round_prefer_ceil": lambda c: floor(c + Fraction(1, 2)),
    "floor": floor,
    "ceil": ceil,
}


class Reading(NamedTuple):
    """Along one axis, for every output: the two inputs it reads, and the weight of the second."""

    first: Tensor
    second: Tensor
    weight: Tensor


def resize(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Opset 11 and newer; two inputs are those of opset 10, which knows neither coordinates nor rounding."""
    old = len(node.inputs) <= 2
    scales, sizes = (inputs[1], None) if old else (optional(node, inputs, 2), integers(node, inputs, 3))
    mode = "asymmetric" if old else str(node.attributes.get("coordinate_transformation_mode", "half_pixel"))
    nearest = "floor" if old else str(node.attributes.get("nearest_mode", "round_prefer_floor"))
    require(node, not node.attributes.get("antialias", 0), "no antialiasing")
    require(node, not node.attributes.get("exclude_outside", 0), "values outside to count")
    require(
        node, node.attributes.get("keep_aspect_ratio_policy", "stretch") == "stretch", "sizes as they are given"
    )
    require(node, mode in _COORDINATES, f"coordinates that are one of {', '.join(_COORDINATES)}")
    return _transform(node, _given(node, scales, sizes, old), _COORDINATES[mode], nearest, rounding)


def upsample(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Opsets 7 (scales are an attribute) to 9."""
    given = node.attributes.get("scales")
    scales = optional(node, inputs, 1) if given is None else torch.tensor(given)
    return _transform(node, _given(node, scales, None, True), _asymmetric, "floor", rounding)


Given = Sequence[Fraction | int]
"""Scales, or else sizes, of the axes that are named."""


def _given(node: Node, scales: Tensor | None, sizes: list[int] | None, old: bool) -> Given:
    if sizes:
        return sizes
    if scales is None or not len(scales):
        raise unsupported(node, "expected constant scales or sizes")
    exact = [Fraction(float(scale)) for scale in scales]
    require(node, all(scale > 0 for scale in exact), "positive scales")
    # Runtimes round down or up when old opsets shrink, as nothing says which.
    shrinks = old and node.attributes.get("mode", "nearest") == "nearest" and min(exact) < 1
    require(node, not shrinks, "scales of at least 1 before opset 11")
    return exact


def _transform(node: Node, given: Given, coordinate: Coordinate, nearest: str, rounding: Rounding) -> Transform:
    mode = node.attributes.get("mode", "nearest")
    convex = mode in ("nearest", "linear", "bilinear", "trilinear")
    require(node, convex, "mode nearest or linear, whose weights are not negative")
    require(node, nearest in _NEAREST, "a known nearest_mode")
    symmetric = mode == "nearest" and coordinate is _half_pixel_symmetric
    require(node, not symmetric, "other coordinates than half_pixel_symmetric for the nearest value")

    def transform(x: Interval) -> Interval:
        rank = x.lower.ndim
        axes = [axis % rank for axis in node.attributes.get("axes", range(rank))]
        require(node, len(axes) == len(given), "a scale or size for every axis")
        box, resized = x, []
        for axis, value in zip(axes, given, strict=True):
            lengths = _lengths(node, int(x.lower.shape[axis]), value, coordinate)
            if lengths.scale == 1:
                continue
            at = [coordinate(i, lengths) for i in range(lengths.after)]
            if mode == "nearest":
                box = _nearest(box, axis, _neighbours(at, lengths, _NEAREST[nearest], rounding))
            else:
                box = _linear(box, axis, _weights(at, lengths.before))
                resized.append(axis)
        return _covered(box, x, resized, rounding)

    return transform


def _lengths(node: Node, before: int, given: Fraction | int, coordinate: Coordinate) -> Lengths:
    """Refused are lengths that depend on how a product is rounded, and fractions of a pixel under coordinates that
    know the length after: for some runtimes that is the fraction, for some the whole number."""
    if isinstance(given, int):
        after, scale = given, Fraction(given, before)
    else:
        after, scale = floor(before * given), given
        require(node, floor(np.float32(before) * np.float32(float(given))) == after, "a length beyond rounding")
        vague = coordinate in (_align_corners, _pytorch_half_pixel) and before * given != after
        require(node, not vague, "scales that give a whole number of pixels")
        # ONNX Runtime copies the input where no length changes, whatever the scale says.
        require(node, scale == 1 or after != before, "a scale that changes the length, or 1")
    require(node, 0 < after <= _LARGEST and before <= _LARGEST, f"lengths from 1 to {_LARGEST}")
    return Lengths(before, after, scale)


def _neighbours(
    at: Sequence[Fraction], axis: Lengths, choose: Callable[[Fraction], int], rounding: Rounding
) -> Reading:
    """The two values that may be the nearest: one and the same where no rounding can tell otherwise."""
    doubt = Fraction(_DOUBT) * (axis.before + 2) if rounding.unit else Fraction(0)

    def chosen(coordinate: Fraction, error: Fraction) -> int:
        exact = _in_float32(axis.scale) and _in_float32(coordinate) and _in_float32(coordinate + Fraction(1, 2))
        return min(max(choose(coordinate if exact else coordinate + error), 0), axis.before - 1)

    first, second = ([chosen(c, error) for c in at] for error in (-doubt, doubt))
    return Reading(torch.tensor(first), torch.tensor(second), torch.zeros(len(at)))


def _in_float32(value: Fraction) -> bool:
    return Fraction(float(np.float32(float(value)))) == value


def _weights(at: Sequence[Fraction], before: int) -> Reading:
    inside = [min(max(c, Fraction(0)), Fraction(before - 1)) for c in at]
    first = [min(floor(c), max(before - 2, 0)) for c in inside]
    weight = torch.tensor([float(c - i) for c, i in zip(inside, first, strict=True)])
    second = [min(i + 1, before - 1) for i in first]
    return Reading(torch.tensor(first), torch.tensor(second), weight)


def _nearest(x: Interval, axis: int, reading: Reading) -> Interval:
    (a, b), (c, d) = (_pair(end, axis, reading) for end in x)
    return Interval(a.minimum(b), c.maximum(d))


def _linear(x: Interval, axis: int, reading: Reading) -> Interval:
    shape = [-1 if i == axis else 1 for i in range(x.lower.ndim)]
    weight = reading.weight.to(x.lower.device).reshape(shape)
    lower, upper = (a * (1 - weight) + b * weight for a, b in map(partial(_pair, axis=axis, reading=reading), x))
    return Interval(lower, upper)


def _pair(x: Tensor, axis: int, reading: Reading) -> tuple[Tensor, Tensor]:
    return x.index_select(axis, reading.first.to(x.device)), x.index_select(axis, reading.second.to(x.device))


def _covered(box: Interval, x: Interval, axes: list[int], rounding: Rounding) -> Interval:
    """For every axis that is interpolated: 4 roundings on a path and 2 terms, ours and the deployed ones within
    `spread`, and the error of the coordinate times 2 max|x|, twice over for the errors of ours."""
    if not axes:
        return box
    size = x.magnitude.amax(axes, keepdim=True)
    box = rounding.spread(*box, size.expand(box.lower.shape), 8 * len(axes) + 4)
    if rounding.unit == 0:
        return box
    margin = size * sum(4 * _DOUBT * (int(x.lower.shape[axis]) + 2) for axis in axes)
    return Interval(box.lower - margin, box.upper + margin)
