"""Movements of data: nothing is computed, so the ends move as the values do."""

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.elementwise import operands
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import (
    Constants,
    Transform,
    constant_of,
    integers,
    monotone,
    optional,
    pad_order,
    picked,
    require,
)


def flatten(node: Node, _: Constants, rounding: Rounding) -> Transform:
    axis = node.attributes.get("axis", 1)
    return picked(lambda x: x.reshape(prod(x.shape[:axis]), -1) if axis != 1 else x.flatten(1))


def reshape(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    shape = integers(node, inputs, 1) or []
    keep = not node.attributes.get("allowzero", 0)

    def apply(x: Tensor) -> Tensor:
        return x.reshape([x.shape[i] if size == 0 and keep else size for i, size in enumerate(shape)])

    return picked(apply)


def axes_of(node: Node, inputs: Constants) -> list[int] | None:
    """An attribute in older opsets, an input in newer."""
    axes = integers(node, inputs, 1)
    return node.attributes.get("axes") if axes is None else axes


def squeeze(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    axes = axes_of(node, inputs)
    return monotone(lambda x: x.squeeze() if axes is None else x.squeeze(list(axes)))


def unsqueeze(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    axes = axes_of(node, inputs) or []

    def apply(x: Tensor) -> Tensor:
        rank = x.ndim + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            x = x.unsqueeze(axis)
        return x

    return monotone(apply)


def transpose(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    order = node.attributes.get("perm")
    return monotone(lambda x: x.permute(list(order or reversed(range(x.ndim)))))


def concat(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    gather, axis = operands(inputs), node.attributes["axis"]

    def transform(*boxes: Interval) -> Interval:
        lower, upper = zip(*gather(*boxes), strict=True)
        return Interval(torch.cat(lower, axis), torch.cat(upper, axis))

    return transform


def slices(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Slice: starts, ends, axes and steps are attributes before opset 10 and inputs since."""

    def part(position: int, name: str) -> list[int] | None:
        values = integers(node, inputs, position)
        return node.attributes.get(name) if values is None else values

    starts, ends = part(1, "starts") or [], part(2, "ends") or []
    axes = part(3, "axes") or range(len(starts))
    steps = part(4, "steps") or [1] * len(starts)

    def apply(x: Tensor) -> Tensor:
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            x = _cut(x, slice(start, end, step), axis % x.ndim)
        return x

    return monotone(apply)


def _cut(x: Tensor, part: slice, axis: int) -> Tensor:
    if part.step > 0:
        return x[(slice(None),) * axis + (part,)]
    return x.index_select(axis, torch.tensor(range(*part.indices(int(x.shape[axis]))), device=x.device))


def split(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """One part of a Split: the reader makes a node for each output, which says which `part` it is of how many
    (`parts`). Without given sizes all parts are alike, but for a smaller last one."""
    axis, part, parts = node.attributes.get("axis", 0), node.attributes["part"], node.attributes["parts"]
    given = integers(node, inputs, 1) or node.attributes.get("split")

    def apply(x: Tensor) -> Tensor:
        length = -(-int(x.shape[axis]) // parts)
        start, size = (sum(given[:part]), given[part]) if given else (part * length, length)
        return _cut(x, slice(start, start + size, 1), axis % x.ndim)

    return monotone(apply)


def gather(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Rows along an axis, by constant indices of any shape."""
    axis, indices = node.attributes.get("axis", 0), constant_of(node, inputs[1])

    def apply(x: Tensor) -> Tensor:
        at = axis % x.ndim
        rows = torch.where(indices < 0, indices + x.shape[at], indices).reshape(-1)
        taken = x.index_select(at, rows)
        return taken.reshape([*x.shape[:at], *indices.shape, *x.shape[at + 1 :]])

    return monotone(apply)


def expand(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Broadcast against a shape: -1 keeps a size."""
    shape = integers(node, inputs, 1) or []

    def apply(x: Tensor) -> Tensor:
        target = [1] * (x.ndim - len(shape)) + shape
        return x.expand([-1 if size == 1 and i >= len(target) - x.ndim else size for i, size in enumerate(target)])

    return monotone(apply)


def tile(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    repeats = integers(node, inputs, 1) or []
    return monotone(lambda x: x.repeat(repeats) if repeats else x)


def pad(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """The other modes than `constant` repeat values of the image: an index along every axis."""
    mode, pads = node.attributes.get("mode", "constant"), integers(node, inputs, 1)
    pads = list(node.attributes.get("pads", [])) if pads is None else pads
    value, axes = optional(node, inputs, 2), integers(node, inputs, 3)
    fill = node.attributes.get("value", 0.0) if value is None else float(value)
    require(node, mode in ("constant", "edge", "reflect", "wrap"), "a known mode")
    require(node, np.isfinite(fill), "a finite value")
    half = len(pads) // 2

    def apply(x: Tensor) -> Tensor:
        begin, end = [0] * x.ndim, [0] * x.ndim
        for i, axis in enumerate(range(half) if axes is None else axes):
            begin[axis], end[axis] = pads[i], pads[half + i]
        if mode == "constant":
            return F.pad(x, pad_order(begin, end), value=fill)
        for axis, both in enumerate(zip(begin, end, strict=True)):
            x = _repeated(x, axis, both, mode)
        return x

    return monotone(apply)


def _repeated(x: Tensor, axis: int, pads: tuple[int, int], mode: str) -> Tensor:
    if pads == (0, 0):
        return x
    size = int(x.shape[axis])
    kept = np.arange(size)[max(0, -pads[0]) : size - max(0, -pads[1])]
    index = np.pad(kept, [max(0, p) for p in pads], mode=mode)  # type: ignore[call-overload]
    return x.index_select(axis, torch.from_numpy(index).to(x.device))


def depth_to_space(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    block, column_first = node.attributes["blocksize"], node.attributes.get("mode", "DCR") == "CRD"

    def apply(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        if column_first:
            parts = x.reshape(n, c // block**2, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(n, c // block**2, h * block, w * block)

    return monotone(apply)


def space_to_depth(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    block, column_first = node.attributes["blocksize"], node.attributes.get("mode", "DCR") == "CRD"
    order = (0, 1, 3, 5, 2, 4) if column_first else (0, 3, 5, 1, 2, 4)

    def apply(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // block, block, w // block, block).permute(order)
        return parts.reshape(n, c * block**2, h // block, w // block)

    return monotone(apply)


def same(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Identity, where it is not dropped."""
    return monotone(lambda x: x)
