"""A graph that is one chain of affine maps and ReLUs, in float64: what backward linear bounds walk.

Values are flat, one image at a time: Flatten and Reshape then move nothing. A convolution is unfolded into the
matrix product that it is, so that every number is a sum of products on any device, without the kernels of a
library that mix or shorten operands.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from math import prod
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.affine import size_of
from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.norm import ROUNDINGS, norm_statistics
from goodcert.bounds.rounding import EXACT
from goodcert.bounds.rule import constant_of, pad_order, require, unsupported
from goodcert.bounds.windows import explicit_pads

Shape = tuple[int, ...]

MAX_NUMBERS, MAX_STEPS = 2**19, 1000
"""Of one value or one weight's row, and in one chain: what the sums of the proof in crown.py may have."""


class Affine(Protocol):
    """y = W x + b on flat float64 vectors.

    bias, size: (outputs,) b and what stands for |b| in the rounding of the deployed map. terms: its most
    roundings on a path. cost: products in one call of `back` for one row, `width` the numbers it holds.
    """

    bias: Tensor
    size: Tensor
    terms: int
    cost: int
    width: int

    def apply(self, x: Tensor) -> Tensor:
        """(M, inputs) to W x, (M, outputs)."""

    def apply_absolute(self, x: Tensor) -> Tensor:
        """(M, inputs) to |W| x, (M, outputs)."""

    def back(self, rows: Tensor) -> Tensor:
        """(R, outputs) to rows W, (R, inputs)."""

    def rows(self, index: Tensor) -> Tensor:
        """The rows of W with these numbers (R,), without any rounding: (R, inputs)."""


class Dense:
    """weight (outputs, inputs), bias (outputs,)."""

    def __init__(self, weight: Tensor, bias: Tensor, size: Tensor, roundings: int = 0) -> None:
        self._weight, self._absolute = weight, weight.abs()
        self.bias, self.size = bias, size
        self.terms = weight.shape[1] + 1 + roundings
        self.cost, self.width = weight.numel(), sum(weight.shape)

    def apply(self, x: Tensor) -> Tensor:
        return x @ self._weight.T

    def apply_absolute(self, x: Tensor) -> Tensor:
        return x @ self._absolute.T

    def back(self, rows: Tensor) -> Tensor:
        return rows @ self._weight

    def rows(self, index: Tensor) -> Tensor:
        return self._weight[index]


class Diagonal:
    """y = scale x + shift elementwise; `size` as `Affine` has it. Each is (n,)."""

    def __init__(self, scale: Tensor, shift: Tensor, size: Tensor, terms: int) -> None:
        self._scale, self.bias, self.size, self.terms = scale, shift, size, terms
        self.cost = self.width = len(scale)

    def apply(self, x: Tensor) -> Tensor:
        return x * self._scale

    def apply_absolute(self, x: Tensor) -> Tensor:
        return x * self._scale.abs()

    def back(self, rows: Tensor) -> Tensor:
        return rows * self._scale

    def rows(self, index: Tensor) -> Tensor:
        rows = self._scale.new_zeros(len(index), len(self._scale))
        rows[torch.arange(len(index), device=index.device), index] = self._scale[index]
        return rows


@dataclass(frozen=True)
class Window:
    """Where a kernel meets an image (C, H, W): begin and end are its paddings."""

    image: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape
    begin: Shape
    end: Shape

    @property
    def padded(self) -> Shape:
        return tuple(n + b + e for n, b, e in zip(self.image[1:], self.begin, self.end, strict=True))

    @property
    def places(self) -> Shape:
        """How many places the kernel has, down and across."""
        return tuple(
            (n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(self.padded, self.kernel, self.strides, self.dilations, strict=True)
        )

    def unfold(self, x: Tensor) -> Tensor:
        """(M, C H W) to the patch at every place, (M, C kh kw, places)."""
        padded = F.pad(x.reshape(-1, *self.image), pad_order(list(self.begin), list(self.end)))
        return F.unfold(padded, self.kernel, self.dilations, 0, self.strides)

    def fold(self, patches: Tensor) -> Tensor:
        """The transpose of `unfold`: (R, C kh kw, places) summed into images, (R, C H W)."""
        return self.crop(F.fold(patches, self.padded, self.kernel, self.dilations, 0, self.strides))

    def crop(self, x: Tensor) -> Tensor:
        """(R, C, padded H, padded W) to (R, C H W)."""
        (top, left), (height, width) = self.begin, self.image[1:]
        return x[:, :, top : top + height, left : left + width].reshape(len(x), -1)

    def positions(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """The rows (R, kh, 1) and columns (R, 1, kw) of the padded image that the kernel meets at each place."""
        starts = torch.div(place, self.places[1], rounding_mode="floor"), place % self.places[1]
        down, across = (
            start[:, None] * s + torch.arange(k, device=place.device) * d
            for start, k, s, d in zip(starts, self.kernel, self.strides, self.dilations, strict=True)
        )
        return down[:, :, None], across[:, None, :]


class Convolution:
    """weight (outputs, C, kh, kw), bias (outputs,), on the images of `window`."""

    def __init__(self, weight: Tensor, bias: Tensor, size: Tensor, window: Window, roundings: int = 0) -> None:
        self._weight, self._window = weight, window
        self._matrix = weight.flatten(1)
        self._absolute = self._matrix.abs()
        places = prod(window.places)
        self.bias, self.size = bias.repeat_interleave(places), size.repeat_interleave(places)
        self.terms = self._matrix.shape[1] + 1 + roundings
        self.cost, self.width = weight.numel() * places, self._matrix.shape[1] * places + len(self.bias)

    def apply(self, x: Tensor) -> Tensor:
        return (self._matrix @ self._window.unfold(x)).flatten(1)

    def apply_absolute(self, x: Tensor) -> Tensor:
        return (self._absolute @ self._window.unfold(x)).flatten(1)

    def back(self, rows: Tensor) -> Tensor:
        outputs = rows.reshape(len(rows), len(self._weight), -1)
        return self._window.fold(self._matrix.T @ outputs)

    def rows(self, index: Tensor) -> Tensor:
        places, channels = prod(self._window.places), self._weight.shape[1]
        down, across = self._window.positions(index % places)
        image = self._weight.new_zeros(len(index), channels, *self._window.padded)
        row = torch.arange(len(index), device=index.device)[:, None, None, None]
        channel = torch.arange(channels, device=index.device)[None, :, None, None]
        kernels = self._weight[torch.div(index, places, rounding_mode="floor")]
        image[row, channel, down[:, None], across[:, None]] = kernels
        return self._window.crop(image)


@dataclass(frozen=True)
class Relu:
    """The step y = max(x, 0) of every number; it has no weights and no shape of its own."""


@dataclass(frozen=True)
class Chain:
    """The steps from the flat image to the flat output of `outputs` numbers."""

    steps: tuple[Affine | Relu, ...]
    outputs: int

    def pairs(self) -> Iterator[tuple[Affine | Relu, Affine | Relu | None]]:
        """Each step with the one that reads it; None for the last."""
        return zip_longest(self.steps, self.steps[1:])


def chain_of(graph: Graph) -> Chain:
    """The chain that a classifier on images is.

    Raises Unsupported, by node and operator, for any other graph, and for sums past the range of the proof.
    """
    shapes = _shapes(graph)
    steps: list[Affine | Relu] = []
    value = graph.input
    for node in graph.nodes:
        require(node, value in node.inputs, "a chain, each node reading the one before")
        step = _step(node, graph.constants, shapes[value], shapes[node.output], value)
        steps += [] if step is None else [step]
        value = node.output
        require(node, _within_proof(step, shapes[value]), f"at most {MAX_NUMBERS} numbers in a value and a sum")
    if graph.outputs != (value,) or len(steps) > MAX_STEPS:
        raise Unsupported(f"expected a chain of at most {MAX_STEPS} nodes from the image to the one output")
    return Chain(tuple(steps), prod(shapes[value]))


def _within_proof(step: "Affine | Relu | None", shape: Shape) -> bool:
    terms = 0 if step is None or isinstance(step, Relu) else step.terms
    return max(terms, prod(shape)) <= MAX_NUMBERS


def _shapes(graph: Graph) -> dict[str, Shape]:
    """Of every value that varies, without the batch."""
    image = torch.zeros(1, *(size or 1 for size in graph.input_shape[1:]), device=graph.device)
    values = prepare(graph, EXACT).trace(Interval(image, image))
    return {name: tuple(x.lower.shape[1:]) for name, x in values.items()}


def _step(
    node: Node, constants: Mapping[str, Tensor], before: Shape, after: Shape, value: str
) -> Affine | Relu | None:
    """None for what only gives the numbers another shape."""
    if node.op in ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Identity"):
        return None
    if node.op == "Relu":
        return Relu()
    others = [None if name == value or not name else constants.get(name) for name in node.inputs]
    if node.op == "Conv":
        return _convolution(node, others, before)
    if node.op in ("Gemm", "MatMul"):
        return _dense(node, others, before)
    if node.op == "BatchNormalization":
        return _norm(node, others, before)
    if node.op in ("Add", "Sub", "Mul", "Div"):
        return _elementwise(node, others, before, after)
    raise unsupported(
        node,
        "no linear bounds; known are chains of Conv, Gemm, MatMul, BatchNormalization, Relu, reshapes, and sums "
        "and products with constants",
    )


def _convolution(node: Node, inputs: list[Tensor | None], image: Shape) -> Convolution:
    weight = constant_of(node, inputs[1]).double()
    require(node, weight.ndim == 4, "two dimensions")
    require(node, node.attributes.get("group", 1) == 1, "one group of channels")
    begin, end = explicit_pads(node.attributes, weight.shape[2:], image[1:])
    strides, dilations = (tuple(node.attributes.get(name, [1, 1])) for name in ("strides", "dilations"))
    window = Window(image, tuple(weight.shape[2:]), strides, dilations, tuple(begin), tuple(end))
    bias = _bias(node, inputs, len(weight), weight)
    return Convolution(weight, bias, _size(node, bias), window, node.roundings)


def _dense(node: Node, inputs: list[Tensor | None], before: Shape) -> Dense:
    require(node, len(before) == 1 and not node.attributes.keys() - {"transB"}, "one row of numbers an image")
    weight = constant_of(node, inputs[1]).double()
    require(node, weight.ndim == 2, "a matrix of weights on the right")
    weight = weight if node.attributes.get("transB", 0) else weight.T.contiguous()
    bias = _bias(node, inputs, len(weight), weight)
    return Dense(weight, bias, _size(node, bias), node.roundings)


def _bias(node: Node, inputs: list[Tensor | None], outputs: int, like: Tensor) -> Tensor:
    if len(inputs) < 3 or not node.inputs[2]:
        return like.new_zeros(outputs)
    bias = constant_of(node, inputs[2]).double().reshape(-1)
    require(node, len(bias) in (1, outputs), f"a bias of 1 or {outputs} numbers")
    return bias.expand(outputs)


def _size(node: Node, bias: Tensor) -> Tensor:
    size = size_of(node, bias)
    return bias.abs() if size is None else size


def _norm(node: Node, inputs: list[Tensor | None], before: Shape) -> Diagonal:
    scale, shift, size = norm_statistics(node, [constant_of(node, value) for value in inputs[1:]])
    places = prod(before[1:])
    scale, shift, size = (x.repeat_interleave(places) for x in (scale, shift, size))
    return Diagonal(scale, shift, size, ROUNDINGS + node.roundings)


def _elementwise(node: Node, inputs: list[Tensor | None], before: Shape, after: Shape) -> Diagonal:
    """One rounding, two for a quotient; n = 4 leaves room for our own of 1 / c."""
    first = inputs[0] is None
    number = constant_of(node, inputs[1] if first else inputs[0]).double()
    fits = before == after and (number.ndim <= len(before) or number.shape[0] == 1)
    require(node, fits and (first or node.op != "Div"), "one constant for all images, that is not divided")
    c = number.expand(1, *before).reshape(-1)
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    scale, shift = {
        "Add": (one, c), "Sub": (one, -c) if first else (-one, c), "Mul": (c, zero), "Div": (1 / c, zero),
    }[node.op]  # fmt: skip
    require(node, bool(scale.isfinite().all()), "a divisor that is not 0")
    return Diagonal(scale, shift, shift.abs(), terms=4 + node.roundings)
