"""Reductions along axes: extremes are exact, sums are affine."""

from collections.abc import Callable
from functools import reduce
from math import prod

import torch
from torch import Tensor

from goodcert.bounds.activations import absolute
from goodcert.bounds.elementwise import square, undefined_where
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import MAX_MAGNITUDE, Rounding
from goodcert.bounds.rule import Constants, Make, Transform, integers, monotone, require
from goodcert.bounds.transcendental import ABSOLUTE, RELATIVE

AXES = frozenset({"axes", "keepdims", "noop_with_empty_axes"})


def axes_of(node: Node, inputs: Constants) -> list[int] | None:
    """The axes, an attribute in older opsets and an input in newer; None for all of them."""
    axes = integers(node, inputs, 1)
    axes = node.attributes.get("axes") if axes is None else axes
    return list(axes) if axes else None


def _no_op(node: Node, inputs: Constants) -> bool:
    return axes_of(node, inputs) is None and bool(node.attributes.get("noop_with_empty_axes", 0))


def extreme(function: Callable[..., Tensor]) -> Make:
    """ReduceMax and ReduceMin: torch.amax or torch.amin."""

    def make(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
        axes, keep = axes_of(node, inputs), bool(node.attributes.get("keepdims", 1))
        if _no_op(node, inputs):
            return monotone(lambda x: x)

        def apply(x: Tensor) -> Tensor:
            require(node, 0 not in x.shape, "values to choose from")
            return function(x, axes or list(range(x.ndim)), keep)

        return monotone(apply)

    return make


def reduce_sum(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _sum(node, inputs, rounding, 0)


def _sum(node: Node, inputs: Constants, rounding: Rounding, extra: int) -> Transform:
    axes, keep = axes_of(node, inputs), bool(node.attributes.get("keepdims", 1))
    if _no_op(node, inputs):
        return monotone(lambda x: x)

    def transform(x: Interval) -> Interval:
        over = axes or list(range(x.lower.ndim))
        terms = prod(int(x.lower.shape[axis]) for axis in over) + 3 + extra
        lower, upper, size = (value.sum(over, keepdim=keep) for value in (*x, x.magnitude))
        return rounding.spread(lower, upper, size, terms)

    return transform


def reduce_mean(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    axes, keep = axes_of(node, inputs), bool(node.attributes.get("keepdims", 1))
    if _no_op(node, inputs):
        return monotone(lambda x: x)

    def transform(x: Interval) -> Interval:
        over = axes or list(range(x.lower.ndim))
        terms = prod(int(x.lower.shape[axis]) for axis in over) + 4
        lower, upper, size = (value.mean(over, keepdim=keep) for value in (*x, x.magnitude))
        return rounding.spread(lower, upper, size, terms)

    return transform


def reduce_l1(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    sizes, total = absolute(node, inputs, rounding), _sum(node, inputs, rounding, 0)
    return lambda x: total(sizes(x))


def reduce_sum_square(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    total = _sum(node, inputs, rounding, 1)
    return lambda x: total(square(x, rounding))


def reduce_l2(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Rounding may put the lower end of a sum of squares below 0. Its root is taken in float64: that of float32 is
    not the same on all processors."""
    total = _sum(node, inputs, rounding, 1)

    def transform(x: Interval) -> Interval:
        squares = total(square(x, rounding))
        lower, upper = (end.clamp(min=0).double().sqrt().float() for end in squares)
        return rounding.widen(lower, upper, 2)

    return transform


def reduce_prod(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Linear in each factor, so the extremes of every partial product are products of ends.

    Deployed, in any order: a relative error of gamma_k, and for every product 2^-126 of underflow, which the
    factors that follow can magnify by the product P of all max(1, |x|), and by 1 + gamma_k < 2. No partial product
    exceeds P; where that exceeds `MAX_MAGNITUDE`, nothing is guaranteed. Ours in float64 errs by under gamma_1.
    """
    axes, keep = axes_of(node, inputs), bool(node.attributes.get("keepdims", 1))
    if _no_op(node, inputs):
        return monotone(lambda x: x)

    def transform(x: Interval) -> Interval:
        over = sorted((axis % x.lower.ndim for axis in axes or range(x.lower.ndim)), reverse=True)
        box, size = Interval(x.lower.double(), x.upper.double()), x.magnitude.double()
        most = size.clamp(min=1)
        for axis in over:
            box, size, most = _product(box, axis, keep), size.prod(axis, keep), most.prod(axis, keep)
        if rounding.unit == 0:
            return Interval(box.lower.float(), box.upper.float())
        count = prod(int(x.lower.shape[axis]) for axis in over)
        margin = size * rounding.gamma(count + 4) + (most * (count * 2.0**-125) + rounding.tiny)
        margin = torch.where(most <= MAX_MAGNITUDE, margin, torch.inf)
        return Interval((box.lower - margin).float(), (box.upper + margin).float())

    return transform


def _product(x: Interval, axis: int, keep: bool) -> Interval:
    one = torch.ones_like(x.lower.sum(axis))
    box = Interval(one, one)
    for factor in zip(x.lower.unbind(axis), x.upper.unbind(axis), strict=True):
        products = [a * b for a in box for b in factor]
        box = Interval(reduce(torch.minimum, products), reduce(torch.maximum, products))
    return Interval(box.lower.unsqueeze(axis), box.upper.unsqueeze(axis)) if keep else box


def reduce_log_sum(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    total = _sum(node, inputs, rounding, 0)

    def transform(x: Interval) -> Interval:
        sums = total(x)
        return undefined_where(sums.lower <= 0, _outward_log(sums, rounding))

    return transform


def reduce_log_sum_exp(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Increasing in every x. The sum of k exponentials errs by (16 + 1.4 k) u relatively, so its logarithm does
    absolutely, which adds 16 u log k + 8 u of its own: altogether below gamma of 64 + 4 k. Whether the largest x
    is taken out first and added again or not, at most 16 u |x|max comes on top."""
    axes, keep = axes_of(node, inputs), bool(node.attributes.get("keepdims", 1))
    require(node, not _no_op(node, inputs), "axes to reduce")

    def transform(x: Interval) -> Interval:
        require(node, 0 not in x.lower.shape, "values to sum up")
        over = axes or list(range(x.lower.ndim))
        lower, upper = (end.double().logsumexp(over, keep) for end in x)
        terms = prod(int(x.lower.shape[axis]) for axis in over)
        size = x.magnitude.double().amax(over, keep)
        margin = size * (16 * rounding.unit) + rounding.gamma(64 + 4 * terms)
        return Interval((lower - margin).float(), (upper + margin).float())

    return transform


def _outward_log(x: Interval, rounding: Rounding) -> Interval:
    lower, upper = (end.double().log() for end in x)
    if rounding.unit == 0:
        return Interval(lower.float(), upper.float())
    return Interval(
        (lower - lower.abs() * RELATIVE - ABSOLUTE).float(), (upper + upper.abs() * RELATIVE + ABSOLUTE).float()
    )
