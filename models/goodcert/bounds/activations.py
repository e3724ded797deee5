"""Piecewise linear activations: exact, or one rounding on each piece."""

import torch
from torch import Tensor

from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval, Nonnegative
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, constant_of, monotone, number, optional, require


def relu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return lambda x: Nonnegative(x.lower.relu(), x.upper.relu())


def absolute(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return lambda x: Interval(x.lower.maximum(torch.zeros_like(x.lower)).maximum(-x.upper), x.magnitude)


def negative(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return lambda x: Interval(-x.upper, -x.lower)


def clip(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """min(max(x, low), high); the limits are attributes before opset 11 and inputs since."""
    low, high = optional(node, inputs, 1), optional(node, inputs, 2)
    low = torch.tensor(number(node, "min", -torch.inf)) if low is None else low
    high = torch.tensor(number(node, "max", torch.inf)) if high is None else high
    return monotone(lambda x: x.maximum(low).minimum(high))


def leaky_relu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _kinked(torch.tensor(number(node, "alpha", 0.01)), rounding)


def prelu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _kinked(constant_of(node, inputs[1]), rounding)


def _kinked(slope: Tensor, rounding: Rounding) -> Transform:
    """x, or slope x below 0: linear on both sides of 0, so the extremes are at the ends and at 0."""

    def function(x: Tensor) -> Tensor:
        return torch.where(x >= 0, x, x * slope)

    def transform(x: Interval) -> Interval:
        middle = x.lower.maximum(torch.zeros_like(x.lower)).minimum(x.upper)
        first, second, third = function(x.lower), function(middle), function(x.upper)
        return rounding.widen(first.minimum(second).minimum(third), first.maximum(second).maximum(third))

    return transform


def thresholded_relu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """x above alpha, else 0: it jumps upward when alpha is not negative."""
    alpha = number(node, "alpha", 1.0)
    require(node, alpha >= 0, "an alpha of at least 0")
    return monotone(lambda x: torch.where(x > alpha, x, torch.zeros_like(x)))


def hard_sigmoid(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """max(0, min(1, alpha x + beta)): two roundings before the exact limits."""
    alpha, beta = number(node, "alpha", 0.2), number(node, "beta", 0.5)

    def transform(x: Interval) -> Interval:
        first, second = x.lower * alpha + beta, x.upper * alpha + beta
        size = x.magnitude * abs(alpha) + abs(beta)
        line = rounding.spread(first.minimum(second), first.maximum(second), size, 4)
        return Interval(line.lower.clamp(0, 1), line.upper.clamp(0, 1))

    return transform
