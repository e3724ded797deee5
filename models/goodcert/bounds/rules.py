"""The table from operator to rule: what each ONNX operator does to an interval.

A rule takes a node and its constant inputs and returns a transform from intervals to an interval. All that
depends on weights alone, |W| first, is computed when the rule is applied to the node, once. Two ideas cover
everything: centre and radius with the absolute weight for affine operators, both ends through the function
for monotone ones (Gowal et al., On the effectiveness of interval bound propagation, 2018, eq. 6 and 7).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.norm import norm_statistics
from goodcert.bounds.rounding import Rounding, TooManyTerms

Transform = Callable[..., Interval]
"""From the intervals of the inputs that vary, in order, to the interval of the output."""

Constants = tuple[Tensor | None, ...]
"""A node's inputs in order; None where the input varies."""


@dataclass(frozen=True)
class Rule:
    """make: builds the transform. attributes: every attribute the rule understands. varies: which operands
    may vary, `first` alone, `one` of two, or `any`; all others must be constants."""

    make: Callable[[Node, Constants, Rounding], Transform]
    attributes: frozenset[str] = frozenset()
    varies: Literal["first", "one", "any"] = "first"


# --- affine: centre and radius ------------------------------------------------------------------------


def affine(
    apply: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    weight: Tensor,
    bias: Tensor,
    terms: int,
    rounding: Rounding,
) -> Transform:
    """m = W mu + b, R = |W| r, with the radius inflated for rounding (see rounding.py).

    apply(x, weight, bias): the linear map; bias is one number per output channel or feature, or None.
    terms: the most roundings on a path, the number of products per output and one at least.
    """
    absolute = weight.abs()
    margin = rounding.bias_radius(bias, terms)

    def transform(x: Interval) -> Interval:
        mu = x.centre
        centre = apply(mu, weight, bias)
        radius = apply(rounding.inflate(mu, x.radius(mu), terms), absolute, margin)
        return Interval(centre - radius, centre + radius)

    return transform


def conv(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    _, weight, bias = _padded(inputs, 3)
    weight = _constant(node, weight)
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    apply = convolution(node.attributes, weight.ndim - 2)
    return affine(apply, weight, bias, prod(weight.shape[1:]) + 1, rounding)


def convolution(attributes: Mapping[str, Any], dims: int) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """The convolution of these ONNX attributes, in one to three dimensions."""
    strides, dilations = attributes.get("strides", [1] * dims), attributes.get("dilations", [1] * dims)
    begin, end = _pads(attributes, dims)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    groups = attributes.get("group", 1)

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = begin
        if begin != end:
            x, padding = F.pad(x, _pad_order(begin, end)), [0] * dims
        return function(x, weight, bias, strides, padding, dilations, groups)

    return apply


def gemm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """alpha and beta cost the deployed model a rounding each, and us one where they go into the weights."""
    _, weight, bias = _padded(inputs, 3)
    weight = _constant(node, weight)
    weight = weight if node.attributes.get("transB", 0) else weight.T
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    _require(node, not node.attributes.get("transA", 0), "the images in rows, got transA")
    outputs = weight.shape[0]
    bias = weight.new_zeros(1) if bias is None else bias
    same = bias.numel() == 1 or (bias.numel() == outputs == bias.shape[-1])
    _require(node, same, f"a bias of 1 or {outputs} numbers in a row, the same for every image")
    bias = bias.reshape(-1)
    if (alpha, beta) != (1, 1):
        weight, bias = (weight.double() * alpha).float(), (bias.double() * beta).float()
    terms = weight.shape[1] + (1 if (alpha, beta) == (1, 1) else 4)
    return affine(F.linear, weight, bias.expand(outputs), terms, rounding)


def matmul(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    weight = _constant(node, inputs[1])
    if weight.ndim != 2:
        raise _unsupported(node, f"a constant right factor of shape {tuple(weight.shape)}, expected a matrix")
    return affine(F.linear, weight.T, weight.new_zeros(weight.shape[1]), weight.shape[0] + 1, rounding)


def average_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    kernel = node.attributes["kernel_shape"]
    begin, end = _pads(node.attributes, len(kernel))
    _require(node, begin == end and not node.attributes.get("ceil_mode", 0), "symmetric pads, no ceil_mode")
    _require(node, all(d == 1 for d in node.attributes.get("dilations", [])), "dilations of 1")
    function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]
    strides = node.attributes.get("strides", [1] * len(kernel))
    include = bool(node.attributes.get("count_include_pad", 0))
    return _mean(lambda x: function(x, kernel, strides, begin, count_include_pad=include), prod(kernel), rounding)


def global_average_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    def transform(x: Interval) -> Interval:
        axes = tuple(range(2, x.lower.ndim))
        size = int(prod(x.lower.shape[2:]))
        return _mean(lambda t: t.mean(axes, keepdim=True), size, rounding)(x)

    return transform


def _mean(pool: Callable[[Tensor], Tensor], size: int, rounding: Rounding) -> Transform:
    terms = size + 2

    def transform(x: Interval) -> Interval:
        mu = x.centre
        centre = pool(mu)
        radius = pool(rounding.inflate(mu, x.radius(mu), terms)) + rounding.tiny
        return Interval(centre - radius, centre + radius)

    return transform


def batch_norm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with at most 8 roundings on a path however it is
    arranged, and ours of scale and shift; its parts have the sizes |scale x| and `magnitude`."""
    statistics = norm_statistics(node, [_constant(node, value) for value in inputs[1:]])
    terms = 10
    scale, shift = statistics.scale.float(), statistics.shift.float()
    margin = rounding.bias_radius(statistics.magnitude.float(), terms)

    def transform(x: Interval) -> Interval:
        def channels(values: Tensor) -> Tensor:
            return values.reshape(-1, *[1] * (x.lower.ndim - 2))

        mu = x.centre
        centre = mu * channels(scale) + channels(shift)
        radius = rounding.inflate(mu, x.radius(mu), terms) * channels(scale.abs())
        if margin is not None:
            radius = radius + channels(margin)
        return Interval(centre - radius, centre + radius)

    return transform


# --- elementwise arithmetic: one rounding -------------------------------------------------------------


def add(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    constant = next((c for c in inputs if c is not None), None)
    if constant is None:
        return lambda x, y: rounding.widen(x.lower + y.lower, x.upper + y.upper)
    return lambda x: rounding.widen(x.lower + constant, x.upper + constant)


def sub(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    left, right = inputs
    if left is not None:
        return lambda x: rounding.widen(left - x.upper, left - x.lower)
    if right is not None:
        return lambda x: rounding.widen(x.lower - right, x.upper - right)
    return lambda x, y: rounding.widen(x.lower - y.upper, x.upper - y.lower)


def mul(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    factor = _constant(node, next((c for c in inputs if c is not None), None))

    def transform(x: Interval) -> Interval:
        a, b = x.lower * factor, x.upper * factor
        return rounding.widen(a.minimum(b), a.maximum(b))

    return transform


def div(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    divisor = _constant(node, inputs[1])
    _require(node, bool((divisor != 0).all()), "a divisor without zeros")

    def transform(x: Interval) -> Interval:
        a, b = x.lower / divisor, x.upper / divisor
        return rounding.widen(a.minimum(b), a.maximum(b))

    return transform


# --- monotone and exact: both ends through the function -----------------------------------------------


def monotone(function: Callable[[Tensor], Tensor]) -> Transform:
    """For a function that never decreases and never rounds."""
    return lambda x: Interval(function(x.lower), function(x.upper))


def relu(node: Node, _: Constants, rounding: Rounding) -> Transform:
    return monotone(torch.relu)


def max_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    kernel = node.attributes["kernel_shape"]
    dims = len(kernel)
    begin, end = _pads(node.attributes, dims)
    _require(node, begin == end and not node.attributes.get("ceil_mode", 0), "symmetric pads, no ceil_mode")
    _require(node, all(2 * p <= k for p, k in zip(begin, kernel, strict=True)), "pads of at most half a kernel")
    function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[dims]
    strides, dilations = (
        node.attributes.get("strides", [1] * dims),
        node.attributes.get("dilations", [1] * dims),
    )
    return monotone(lambda x: function(x, kernel, strides, begin, dilations))


def flatten(node: Node, _: Constants, rounding: Rounding) -> Transform:
    axis = node.attributes.get("axis", 1)
    return monotone(lambda x: x.reshape(prod(x.shape[:axis]), -1) if axis != 1 else x.flatten(1))


def reshape(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    shape = [int(size) for size in _constant(node, inputs[1]).tolist()]
    keep = not node.attributes.get("allowzero", 0)

    def apply(x: Tensor) -> Tensor:
        return x.reshape([x.shape[i] if size == 0 and keep else size for i, size in enumerate(shape)])

    return monotone(apply)


_WINDOW = frozenset({"kernel_shape", "strides", "pads", "dilations", "auto_pad", "ceil_mode"})

RULES: Mapping[str, Rule] = {
    "Add": Rule(add, varies="any"),
    "AveragePool": Rule(average_pool, _WINDOW | {"count_include_pad"}),
    "BatchNormalization": Rule(batch_norm, frozenset({"epsilon", "momentum", "spatial", "training_mode"})),
    "Conv": Rule(conv, _WINDOW - {"ceil_mode"} | {"group"}),
    "Div": Rule(div),
    "Flatten": Rule(flatten, frozenset({"axis"})),
    "Gemm": Rule(gemm, frozenset({"alpha", "beta", "transA", "transB"})),
    "GlobalAveragePool": Rule(global_average_pool),
    "MatMul": Rule(matmul),
    "MaxPool": Rule(max_pool, _WINDOW | {"storage_order"}),
    "Mul": Rule(mul, varies="one"),
    "Relu": Rule(relu),
    "Reshape": Rule(reshape, frozenset({"allowzero"})),
    "Sub": Rule(sub, varies="any"),
}
"""Every operator that is bounded. What the graph reader folds away (Constant, Identity, Dropout, a final
Softmax) needs no rule."""


def transform_of(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """The transform of one node; raises Unsupported, naming node and operator, when no rule covers it.

    inputs: None where the node's input varies, and where an optional one is left out (its name is "").
    """
    rule = RULES.get(node.op)
    if rule is None:
        raise _unsupported(node, f"no sound rule is known; supported are {', '.join(sorted(RULES))}")
    unknown = node.attributes.keys() - rule.attributes
    if unknown:
        raise _unsupported(node, f"attributes {sorted(unknown)} are not understood")
    varying = [
        i for i, (name, value) in enumerate(zip(node.inputs, inputs, strict=True)) if name and value is None
    ]
    if not (
        varying == [0] or (len(varying) == 1 and rule.varies != "first") or (varying and rule.varies == "any")
    ):
        raise _unsupported(node, f"inputs {varying} vary, expected {rule.varies} and constants beside")
    try:
        return rule.make(node, inputs, rounding)
    except TooManyTerms as error:
        raise _unsupported(node, str(error)) from error


# --- small helpers ------------------------------------------------------------------------------------


def _padded(inputs: Constants, length: int) -> Constants:
    return inputs + (None,) * (length - len(inputs))


def _constant(node: Node, value: Tensor | None) -> Tensor:
    if value is None:
        raise _unsupported(node, "an operand that varies stands where a constant is expected")
    return value


def _pads(attributes: Mapping[str, Any], dims: int) -> tuple[list[int], list[int]]:
    pads = list(attributes.get("pads", [0] * 2 * dims))
    return pads[:dims], pads[dims:]


def _pad_order(begin: list[int], end: list[int]) -> list[int]:
    """F.pad lists the last dimension first."""
    return [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]


def _require(node: Node, holds: bool, expected: str) -> None:
    if not holds:
        raise _unsupported(node, f"expected {expected}")


def _unsupported(node: Node, reason: str) -> Unsupported:
    return Unsupported(f"node {node.name!r} ({node.op}): {reason}")
