"""Affine operators: centre and radius, with the absolute weight (Gowal et al., On the effectiveness of interval
bound propagation, 2018, eq. 6 and 7). All that depends on weights alone, |W| first, is computed once."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.fusion import FACTORS, factors_of, rounded, underflow
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.norm import ROUNDINGS, norm_statistics
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import (
    Constants,
    Transform,
    constant_of,
    optional,
    pad_order,
    padded,
    pads_of,
    require,
)
from goodcert.bounds.windows import check_attributes, checked, dilations_of, explicit_pads, halves, strides_of

_WINDOWS = 2**27
"""Numbers in the windows of a convolution that are held at once (512 MiB)."""

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A linear map: (x, weight, bias or None)."""


def affine(
    apply: Apply, weight: Tensor, bias: Tensor, terms: int, rounding: Rounding, *, halve: bool = False,
    size: Tensor | None = None,
) -> Transform:  # fmt: skip
    """m = W mu + b and R = V rho + beta of rounding.py's theorem.

    apply(x, weight, bias): the linear map; bias is one number per output channel or feature, or None.
    terms: the most roundings on a path, the number of products per output and one at least. halve: take W / 2
    times l + h in place of W mu, which is the same and saves a pass over the data. size: what stands for |b| in
    the margin, shaped like the bias; |b| itself where it is None.
    """
    reach_bias = rounding.bias_radius(bias if size is None else size, terms)
    reach_weight = rounding.stretch(weight, terms)
    half = weight * 0.5 if halve and _halves_exactly(weight, rounding) else None

    def transform(x: Interval) -> Interval:
        centre = apply(x.centre, weight, bias) if half is None else apply(x.lower + x.upper, half, bias)
        radius = apply(rounding.reach(x, terms), reach_weight, reach_bias)
        return Interval(centre - radius, centre + radius)

    return transform


def _halves_exactly(weight: Tensor, rounding: Rounding) -> bool:
    """All but subnormal numbers do."""
    return rounding.unit == 0 or torch.equal((weight * 0.5) * 2, weight)


# --- convolutions -------------------------------------------------------------------------------------


def conv(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    _, weight, _ = padded(inputs, 3)
    weight, bias = constant_of(node, weight), optional(node, inputs, 2)
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
    kernel = list(weight.shape[2:])
    require(node, node.attributes.get("kernel_shape", kernel) == kernel, "the kernel_shape of the weights")
    check_attributes(node, len(kernel))
    apply = convolution(node.attributes, len(kernel), faithful=rounding.unit > 0)
    terms = prod(weight.shape[1:]) + 1 + node.roundings
    transform = affine(apply, weight, bias, terms, rounding, halve=True, size=size_of(node, bias))
    return checked(node, kernel, transform)


def size_of(node: Node, bias: Tensor) -> Tensor | None:
    """Where the bias is: a graph moves between devices, a node does not."""
    return None if node.size is None else node.size.to(bias.device)


def convolution(attributes: Mapping[str, Any], dims: int, *, faithful: bool = True) -> Apply:
    """The convolution of these ONNX attributes, in one to three dimensions.

    faithful: as sums of products, which is what rounding.py is about. cuDNN mixes neighbours first for many shapes
    (Winograd), by choices of its own that no setting forbids, so on a GPU that takes `by_windows`.
    """
    strides, dilations = strides_of(attributes, dims), dilations_of(attributes, dims)
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[dims]
    groups = attributes.get("group", 1)

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        begin, end = explicit_pads(attributes, weight.shape[2:], x.shape[2:])
        if faithful and x.is_cuda:
            return by_windows(F.pad(x, pad_order(begin, end)), weight, bias, strides, dilations, groups)
        padding = begin
        if begin != end:
            x, padding = F.pad(x, pad_order(begin, end)), [0] * dims
        return function(x, weight, bias, strides, padding, dilations, groups)

    return apply


def by_windows(
    x: Tensor, weight: Tensor, bias: Tensor | None, strides: Sequence[int], dilations: Sequence[int], groups: int
) -> Tensor:
    """A convolution of images (N, C, ...), already padded, as a matrix product of the weights with all windows, so
    many images at a time that these are at most `_WINDOWS` numbers."""
    kernel, x = weight.shape[2:], x.contiguous()
    places = [
        (int(n) - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    size = weight.shape[1] * prod(kernel)
    rows = weight.reshape(groups, -1, size)
    steps = [
        *(step * d for step, d in zip(x.stride()[2:], dilations, strict=True)),
        *(step * s for step, s in zip(x.stride()[2:], strides, strict=True)),
    ]
    windows = x.as_strided((*x.shape[:2], *kernel, *places), (*x.stride()[:2], *steps))
    some = max(1, _WINDOWS // (groups * size * prod(places)))
    products = [rows @ part.reshape(len(part), groups, size, prod(places)) for part in torch.split(windows, some)]
    y = torch.cat(products).reshape(len(x), len(weight), *places)
    return y if bias is None else y + bias.reshape(-1, *[1] * len(kernel))


def conv_transpose(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Every output sums at most one product per input channel of its group and kernel position."""
    weight, bias = constant_of(node, inputs[1]), optional(node, inputs, 2)
    dims, groups = weight.ndim - 2, node.attributes.get("group", 1)
    kernel = list(weight.shape[2:])
    check_attributes(node, dims)
    require(node, node.attributes.get("kernel_shape", kernel) == kernel, "the kernel_shape of the weights")
    bias = weight.new_zeros(weight.shape[1] * groups) if bias is None else bias
    terms = weight.shape[0] // groups * prod(kernel) + 1 + node.roundings
    apply = transposed_convolution(node.attributes, dims)
    whole = affine(apply, weight, bias, terms, rounding, size=size_of(node, bias))

    def transform(x: Interval) -> Interval:
        require(node, x.lower.ndim == dims + 2, f"images (N, C, ...) of {dims} dimensions")
        _check_crops(node, kernel, [int(n) for n in x.lower.shape[2:]])
        return whole(x)

    return transform


def _check_crops(node: Node, kernel: Sequence[int], sizes: list[int]) -> None:
    dims = len(kernel)
    strides, dilations = strides_of(node.attributes, dims), dilations_of(node.attributes, dims)
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(sizes, strides, dilations, kernel, strict=True)]
    begin, end = crops(node.attributes, whole, sizes)
    left = [w - b - e for w, b, e in zip(whole, begin, end, strict=True)]
    require(node, min(left) >= 1, "an output of at least one number along every axis")
    extra = node.attributes.get("output_padding", [0] * dims)
    steps = [max(s, d) for s, d in zip(strides, dilations, strict=True)]
    short = all(x < step and -e < step for x, e, step in zip(extra, end, steps, strict=True))
    require(node, short, "an output longer than what the windows reach by less than a stride or dilation")
    reached = "output_shape" in node.attributes or all(-e <= x for e, x in zip(end, extra, strict=True))
    require(node, reached, "strides no longer than the windows with auto_pad SAME; write pads instead")


def transposed_convolution(attributes: Mapping[str, Any], dims: int) -> Apply:
    """The whole output first, then cropped or filled up with zeros as the pads say, then the bias."""
    strides, dilations = strides_of(attributes, dims), dilations_of(attributes, dims)
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[dims]
    groups = attributes.get("group", 1)

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        whole = function(x, weight, None, strides, 0, 0, groups, dilations)
        begin, end = crops(attributes, [int(n) for n in whole.shape[2:]], [int(n) for n in x.shape[2:]])
        y = F.pad(whole, pad_order([-p for p in begin], [-p for p in end]))
        return y if bias is None else y + bias.reshape(-1, *[1] * dims)

    return apply


def crops(attributes: Mapping[str, Any], whole: list[int], sizes: list[int]) -> tuple[list[int], list[int]]:
    """How much of the whole transposed convolution is cut off at the beginning and at the end of each axis."""
    dims, rule = len(whole), attributes.get("auto_pad", "NOTSET")
    extra = list(attributes.get("output_padding", [0] * dims))
    strides = strides_of(attributes, dims)
    wanted = attributes.get("output_shape")
    if wanted is None and rule in ("NOTSET", "VALID"):
        begin, end = pads_of(attributes, dims) if rule == "NOTSET" else ([0] * dims, [0] * dims)
        return begin, [e - x for e, x in zip(end, extra, strict=True)]
    wanted = [n * s for n, s in zip(sizes, strides, strict=True)] if wanted is None else wanted
    total = [max(0, w + x - y) for w, x, y in zip(whole, extra, wanted, strict=True)]
    begin, _ = halves(total, upper=rule == "SAME_UPPER")
    return begin, [w - b - y for w, b, y in zip(whole, begin, wanted, strict=True)]


# --- dense layers -------------------------------------------------------------------------------------


def gemm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    weight, bias = constant_of(node, inputs[1]), optional(node, inputs, 2)
    alpha, beta = factors_of(node)
    weight = _scaled(node, weight if node.attributes.get("transB", 0) else weight.T, alpha)
    bias = weight.new_zeros(1) if bias is None else _scaled(node, bias, beta)
    outputs, terms = weight.shape[0], weight.shape[1] + 1 + node.roundings
    if bias.ndim < 2 or bias.shape[0] == 1:
        bias = bias.reshape(-1)
        require(node, len(bias) in (1, outputs), f"a bias of 1 or {outputs} numbers for every row")
        bias = bias.expand(outputs)
    size = size_of(node, bias)
    if (alpha, beta) != (1, 1):
        size, terms = bias.double().abs() + underflow(bias.new_tensor(alpha).double()), terms + FACTORS
    apply = dense_by_column if node.attributes.get("transA", 0) else dense
    return affine(apply, weight, bias, terms, rounding, size=size)


def _scaled(node: Node, value: Tensor, factor: float) -> Tensor:
    return value if factor == 1 else rounded(node, value.double() * factor)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, F) by weight (K, F) to (N, K); the bias is (K,), or one for every entry of the result."""
    if bias is None or bias.ndim == 1:
        return F.linear(x, weight, bias)
    return F.linear(x, weight) + bias


def dense_by_column(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return dense(x.T, weight, bias)


def matmul(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """With one constant factor, on either side."""
    left, right = inputs
    if left is not None:
        zero = left.new_zeros(1)
        terms = left.shape[-1] + 1 + node.roundings
        return affine(lambda x, w, b: _plus(torch.matmul(w, x), b), left, zero, terms, rounding)
    weight = constant_of(node, right)
    terms = weight.shape[-2 if weight.ndim > 1 else 0] + 1 + node.roundings
    if weight.ndim == 2:
        return affine(F.linear, weight.T, weight.new_zeros(weight.shape[1]), terms, rounding)
    return affine(lambda x, w, b: _plus(torch.matmul(x, w), b), weight, weight.new_zeros(1), terms, rounding)


def _plus(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.reshape(())


# --- normalization with fixed statistics --------------------------------------------------------------


def batch_norm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, with at most `ROUNDINGS` on a path however it is
    arranged; its parts have the sizes |scale x| and `magnitude`."""
    statistics = norm_statistics(node, [constant_of(node, value) for value in inputs[1:]])
    terms = ROUNDINGS + node.roundings
    scale, shift = statistics.scale.float(), statistics.shift.float()
    reach_scale = rounding.stretch(scale, terms)
    margin = rounding.bias_radius(statistics.magnitude.float(), terms)

    def transform(x: Interval) -> Interval:
        def channels(values: Tensor) -> Tensor:
            return values.reshape(-1, *[1] * (x.lower.ndim - 2))

        centre = x.centre * channels(scale) + channels(shift)
        radius = rounding.reach(x, terms) * channels(reach_scale)
        if margin is not None:
            radius = radius + channels(margin)
        return Interval(centre - radius, centre + radius)

    return transform
