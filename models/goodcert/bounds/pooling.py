"""Pooling: means are affine, maxima are monotone and exact."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import product
from math import inf, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, monotone, pad_order, picked, require
from goodcert.bounds.windows import check_attributes, checked, dilations_of, explicit_pads, strides_of

WINDOW = frozenset({"kernel_shape", "strides", "pads", "dilations", "auto_pad", "ceil_mode"})


def average_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    kernel, strides, dilations = window_of(node)
    include = bool(node.attributes.get("count_include_pad", 0))
    usual = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[len(kernel)]

    def pool(x: Tensor) -> Tensor:
        begin, end, over = padding(node.attributes, x)
        half = all(2 * p <= k for p, k in zip(begin, kernel, strict=True))
        if begin == end and half and not any(over) and set(dilations) == {1}:
            return usual(x, kernel, strides, begin, count_include_pad=include)
        return _average(x, kernel, strides, dilations, begin, [e + o for e, o in zip(end, over, strict=True)],
                        _counted(x, begin, end, over, include))  # fmt: skip

    return _pooled(node, mean(pool, prod(kernel), rounding))


def _counted(x: Tensor, begin: list[int], end: list[int], over: list[int], include: bool) -> Tensor:
    """1 where a value counts, over the padded image: pads if they are to be included, what lies over never."""
    ones = torch.ones([1, 1, *(int(n) for n in x.shape[2:])], dtype=x.dtype, device=x.device)
    padded = F.pad(ones, pad_order(begin, end), value=float(include))
    return F.pad(padded, pad_order([0] * len(over), over))


def _average(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], begin: list[int],
    end: list[int], counted: Tensor,
) -> Tensor:  # fmt: skip
    total, count = (
        reduce(torch.add, windows(value, kernel, strides, dilations))
        for value in (F.pad(x, pad_order(begin, end)), counted)
    )
    return total / count


def max_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    kernel, strides, dilations = window_of(node)
    usual = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(kernel)]

    def pool(x: Tensor) -> Tensor:
        begin, end, over = padding(node.attributes, x)
        half = all(2 * p <= k for p, k in zip(begin, kernel, strict=True))
        if begin == end and half and not any(over):
            return usual(x, kernel, strides, begin, dilations)
        whole = F.pad(x, pad_order(begin, [e + o for e, o in zip(end, over, strict=True)]), value=-inf)
        return reduce(torch.maximum, windows(whole, kernel, strides, dilations))

    return _pooled(node, picked(pool))


def window_of(node: Node) -> tuple[list[int], list[int], list[int]]:
    """(kernel, strides, dilations) of a pool in one to three dimensions."""
    kernel = list(node.attributes["kernel_shape"])
    check_attributes(node, len(kernel))
    dilations = dilations_of(node.attributes, len(kernel))
    return kernel, strides_of(node.attributes, len(kernel)), dilations


def _pooled(node: Node, transform: Transform) -> Transform:
    """`transform` for images in which every window meets a pixel: of others a runtime makes NaN or its least
    number."""

    kernel, strides, dilations = window_of(node)

    def inside(x: Interval) -> Interval:
        begin, end, over = padding(node.attributes, x.lower)
        short = all(p < k for p, k in zip([*begin, *end], kernel * 2, strict=True))
        require(node, short, "pads shorter than the kernel")
        whole = node.attributes.get("auto_pad") != "VALID" or not any(over)
        require(node, whole, "no window beyond the image with auto_pad VALID; ceil_mode adds one in some runtimes")
        axes = zip(x.lower.shape[2:], begin, end, over, kernel, strides, dilations, strict=True)
        require(node, all(_meets_pixels(*axis) for axis in axes), "windows that meet a pixel each")
        return transform(x)

    return checked(node, kernel, inside)


def _meets_pixels(n: int, begin: int, end: int, over: int, k: int, s: int, d: int) -> bool:
    """Whether the kernel, k numbers at distances d, meets one of n pixels wherever steps of s take it. It does
    where it has no gaps, as pads are shorter than it is."""
    starts = range(-begin, int(n) + end + over - d * (k - 1), s)
    return d == 1 or all(any(0 <= start + d * j < n for j in range(k)) for start in starts)


def padding(attributes: Mapping[str, Any], x: Tensor) -> tuple[list[int], list[int], list[int]]:
    """(begin, end, over) for every axis. over: what ceil_mode adds past the pads, so that a last window fits
    that begins inside the image or its first pads."""
    kernel = attributes["kernel_shape"]
    sizes = [int(n) for n in x.shape[2:]]
    begin, end = explicit_pads(attributes, kernel, sizes)
    strides, dilations = strides_of(attributes, len(kernel)), dilations_of(attributes, len(kernel))
    over = [0] * len(kernel)
    if attributes.get("ceil_mode", 0):
        for axis, (n, b, e, k, s, d) in enumerate(zip(sizes, begin, end, kernel, strides, dilations, strict=True)):
            room = n + b + e - d * (k - 1) - 1
            last = -(-room // s) * s
            over[axis] = max(0, last - room) if last < n + b else 0
    return begin, end, over


def windows(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Iterator[Tensor]:
    """For every kernel position, what it meets as the kernel moves over an image that is already padded."""
    counts = [
        (int(n) - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    for position in product(*(range(k) for k in kernel)):
        view = x
        for axis, (p, s, d, n) in enumerate(zip(position, strides, dilations, counts, strict=True), start=2):
            inside = slice(p * d, p * d + (n - 1) * s + 1, s)
            view = view[(slice(None),) * axis + (inside,)]
        yield view


def global_average_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    def transform(x: Interval) -> Interval:
        require(node, x.lower.ndim > 2, "images (N, C, ...)")
        axes = tuple(range(2, x.lower.ndim))
        return mean(lambda t: t.mean(axes, keepdim=True), int(prod(x.lower.shape[2:])), rounding)(x)

    return transform


def global_max_pool(node: Node, _: Constants, rounding: Rounding) -> Transform:
    def pool(x: Tensor) -> Tensor:
        require(node, x.ndim > 2, "images (N, C, ...)")  # no axes would mean all of them
        return x.amax(tuple(range(2, x.ndim)), keepdim=True)

    return monotone(pool)


def mean(pool: Callable[[Tensor], Tensor], size: int, rounding: Rounding) -> Transform:
    terms = size + 4
    stretch = float(rounding.stretch(torch.ones(1), terms))

    def transform(x: Interval) -> Interval:
        centre = pool(x.centre)
        radius = pool(rounding.reach(x, terms)) * stretch + rounding.tiny
        return Interval(centre - radius, centre + radius)

    return transform
