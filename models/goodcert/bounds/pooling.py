"""Pooling: means are affine, maxima are monotone and exact."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import product
from math import inf, prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.affine import explicit_pads
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, monotone, pad_order, picked, require

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

    return mean(pool, prod(kernel), rounding)


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

    return picked(pool)


def window_of(node: Node) -> tuple[list[int], list[int], list[int]]:
    """(kernel, strides, dilations) of a pool in one to three dimensions."""
    kernel = list(node.attributes["kernel_shape"])
    require(node, 1 <= len(kernel) <= 3, "one to three dimensions")
    ones = [1] * len(kernel)
    dilations = list(node.attributes.get("dilations", ones))
    same = str(node.attributes.get("auto_pad", "")).startswith("SAME")
    require(node, dilations == ones or not same, "no dilations with auto_pad SAME, of which runtimes disagree")
    return kernel, list(node.attributes.get("strides", ones)), dilations


def padding(attributes: Mapping[str, Any], x: Tensor) -> tuple[list[int], list[int], list[int]]:
    """(begin, end, over) for every axis. over: what ceil_mode adds past the pads, so that a last window fits
    that begins inside the image or its first pads."""
    kernel = attributes["kernel_shape"]
    sizes = [int(n) for n in x.shape[2:]]
    begin, end = explicit_pads(attributes, kernel, sizes)
    ones = [1] * len(kernel)
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
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
    terms = size + 3
    stretch = float(rounding.stretch(torch.ones(1), terms))

    def transform(x: Interval) -> Interval:
        centre = pool(x.centre)
        radius = pool(rounding.reach(x, terms)) * stretch + rounding.tiny
        return Interval(centre - radius, centre + radius)

    return transform
