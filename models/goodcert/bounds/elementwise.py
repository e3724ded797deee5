"""Elementwise arithmetic between branches and constants: one rounding each, two for a quotient, or few terms."""

from collections.abc import Callable
from functools import reduce
from itertools import product

import torch
from torch import Tensor

from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, constant_of

Operands = Callable[..., list[Interval]]


def operands(inputs: Constants) -> Operands:
    """All inputs in order, given the boxes of those that vary: a constant is a box of one point."""

    def gather(*boxes: Interval) -> list[Interval]:
        rest = iter(boxes)
        return [next(rest) if value is None else Interval(value, value) for value in inputs]

    return gather


def add(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    gather = operands(inputs)

    def transform(*boxes: Interval) -> Interval:
        x, y = gather(*boxes)
        return _of_two(node, x.lower + y.lower, x.upper + y.upper, x, y, rounding)

    return transform


def sub(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    gather = operands(inputs)

    def transform(*boxes: Interval) -> Interval:
        x, y = gather(*boxes)
        return _of_two(node, x.lower - y.upper, x.upper - y.lower, x, y, rounding)

    return transform


def _of_two(node: Node, lower: Tensor, upper: Tensor, x: Interval, y: Interval, rounding: Rounding) -> Interval:
    """One rounding of the result; or, where an operand may be drawn into the sum of the layer that makes the
    other, as many as that has, of both operands."""
    if not node.roundings:
        return rounding.widen(lower, upper)
    return rounding.spread(lower, upper, x.magnitude + y.magnitude, node.roundings + 3)


def mul(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """A product is linear in each factor, so its extremes are at ends. A square is a parabola."""
    constant = next((value for value in inputs if value is not None), None)
    if constant is not None:
        operations = 1 + node.roundings
        return lambda x: rounding.widen(*_ends(x.lower * constant, x.upper * constant), operations)
    if node.inputs[0] == node.inputs[1]:
        return lambda x, _: square(x, rounding)
    return lambda x, y: rounding.widen(*_ends(*(a * b for a, b in product(x, y))))


def square(x: Interval, rounding: Rounding) -> Interval:
    nearest = x.lower.maximum(torch.zeros_like(x.lower)).maximum(-x.upper)
    return rounding.widen(nearest * nearest, x.magnitude * x.magnitude)


def div(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Monotone in each operand while the divisor keeps its sign; NaN where it may be 0."""
    gather = operands(inputs)

    def transform(*boxes: Interval) -> Interval:
        x, y = gather(*boxes)
        lower, upper = _ends(*(a / b for a, b in product(x, y)))
        return undefined_where((y.lower <= 0) & (y.upper >= 0), rounding.widen(lower, upper, 2 + node.roundings))

    return transform


def reciprocal(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return lambda x: undefined_where((x.lower <= 0) & (x.upper >= 0), rounding.widen(1 / x.upper, 1 / x.lower, 2))


def undefined_where(nowhere: Tensor, x: Interval) -> Interval:
    """NaN where the operator has no value somewhere in the box."""
    nan = torch.full_like(x.lower, torch.nan)
    return Interval(torch.where(nowhere, nan, x.lower), torch.where(nowhere, nan, x.upper))


def total(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _sum(inputs, rounding, 1, node.roundings)


def average(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _sum(inputs, rounding, len(inputs), node.roundings)


def _sum(inputs: Constants, rounding: Rounding, divisor: int, roundings: int) -> Transform:
    gather, terms = operands(inputs), len(inputs) + 3 + roundings

    def transform(*boxes: Interval) -> Interval:
        values = gather(*boxes)
        lower, upper = (reduce(torch.add, ends) / divisor for ends in zip(*values, strict=True))
        size = reduce(torch.add, [value.magnitude for value in values]) / divisor
        return rounding.spread(lower, upper, size, terms)

    return transform


def largest(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _pointwise(inputs, torch.maximum)


def smallest(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _pointwise(inputs, torch.minimum)


def _pointwise(inputs: Constants, function: Callable[[Tensor, Tensor], Tensor]) -> Transform:
    """For a function of any number of inputs that never decreases in any and never rounds."""
    gather = operands(inputs)

    def transform(*boxes: Interval) -> Interval:
        lower, upper = zip(*gather(*boxes), strict=True)
        return Interval(reduce(function, lower), reduce(function, upper))

    return transform


def select(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Where, with a constant condition: data moves."""
    condition, gather = constant_of(node, inputs[0]), operands(inputs[1:])

    def transform(*boxes: Interval) -> Interval:
        x, y = gather(*boxes)
        return Interval(torch.where(condition, x.lower, y.lower), torch.where(condition, x.upper, y.upper))

    return transform


def _ends(*values: Tensor) -> tuple[Tensor, Tensor]:
    return reduce(torch.minimum, values), reduce(torch.maximum, values)
