"""The kernel check: layers whose right answer is known to the bit, run through the kernels that will certify.

The rounding theorem is about sums of products. Winograd and FFT kernels first mix neighbouring inputs, TF32
and bfloat16 kernels shorten them. A layer with a single weight among zeros must return its product with the
input it picks, rounded once, to the bit, however large the inputs under the zeros: 0 times 2^40 is 0. Inputs and
weights use all 24 bits of their mantissas. A kernel that mixes loses the small value beside the huge one; one that
shortens either operand, or splits it and leaves some of the products out, gives other bits. Libraries choose
kernels by shape and batch, so every layer of the model is tried in its own shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.affine import convolution, transposed_convolution
from goodcert.bounds.graph import CPU, Graph, Node
from goodcert.bounds.windows import explicit_pads
from goodcert.bounds.writer import write_graph
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.errors import EngineError, Unfaithful
from goodcert.engine.prediction import Predictor
from goodcert.engine.runtime import ROWS

BATCHES = (1, 2, 3, 5, 7, 16, ROWS)
"""Of a run of ONNX Runtime, which never has more rows."""

Run = Callable[[Tensor, Tensor], Tensor]
"""A layer under test: from inputs and weights to outputs, with a bias of zeros as the engine's layers have."""


@dataclass(frozen=True)
class Layer:
    """One Conv, ConvTranspose, Gemm or MatMul. inputs: the shape of one input, without the batch."""

    node: Node
    inputs: tuple[int, ...]
    weight: tuple[int, ...]

    @cached_property
    def probe(self) -> Tensor:
        """The weights with one that is not 0 an output."""
        return probe_weight(self)


class Examples(NamedTuple):
    """inputs: (N, ...) of a layer; expected: what a faithful one makes of them with the weights of its probe."""

    inputs: Tensor
    expected: Tensor


def examples(layer: Layer, count: int) -> Examples:
    inputs = probe_input(layer, count)
    return Examples(inputs, picked(layer, inputs))


def layers(admitted: AdmittedGraph) -> list[Layer]:
    """Every convolution and dense layer. Raises EngineError for one whose weights stand on the left."""
    graph, shapes = admitted.graph, admitted.shapes
    affine = [node for node in graph.nodes if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")]
    for node in affine:
        if node.inputs[1] not in graph.constants:
            raise EngineError(f"node {node.name!r} ({node.op}): weights on the left, expected them on the right")
    return [
        Layer(
            _plainly_padded(node, graph, shapes),
            shapes[node.inputs[0]],
            tuple(graph.constants[node.inputs[1]].shape),
        )
        for node in affine
    ]


def _plainly_padded(node: Node, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Node:
    """With auto_pad spelled out for the sizes that the layer meets."""
    if "auto_pad" not in node.attributes or node.op == "ConvTranspose":
        return node
    kernel, sizes = graph.constants[node.inputs[1]].shape[2:], shapes[node.inputs[0]][1:]
    begin, end = explicit_pads(node.attributes, kernel, sizes)
    rest = {name: value for name, value in node.attributes.items() if name != "auto_pad"}
    return replace(node, attributes={**rest, "pads": [*begin, *end]})


def check_bounds(admitted: AdmittedGraph, device: torch.device, batches: Sequence[int]) -> None:
    """Try PyTorch's kernels on `device`. Raises EngineError, naming the layer, if one is not faithful."""
    for layer in layers(admitted):
        _check(layer, torch_layer(layer), batches, device, f"PyTorch on {device.type}")


def check_prediction(admitted: AdmittedGraph, threads: int | None, batches: Sequence[int] = BATCHES) -> None:
    """Try ONNX Runtime's kernels. Raises EngineError, naming the layer, if one is not faithful."""
    for layer in layers(admitted):
        _check(layer, onnx_layer(layer, threads), batches, CPU, "ONNX Runtime")


def torch_layer(layer: Layer) -> Run:
    if layer.node.op == "Conv":
        apply = convolution(layer.node.attributes, len(layer.inputs) - 1)
        return lambda x, weight: apply(x, weight, weight.new_zeros(len(weight)))
    if layer.node.op == "ConvTranspose":
        apply = transposed_convolution(layer.node.attributes, len(layer.inputs) - 1)
        return lambda x, weight: apply(x, weight, weight.new_zeros(_outputs(layer)))
    rows = _rows_first(layer.node)
    return lambda x, weight: F.linear(x, weight if rows else weight.T, weight.new_zeros(weight.shape[not rows]))


def onnx_layer(layer: Layer, threads: int | None) -> Run:
    """The layer alone in ONNX Runtime. The weight is part of the model, as runtimes pre-pack weights."""
    constants = {"w": layer.probe}
    if layer.node.op != "MatMul":
        constants["b"] = torch.zeros(_outputs(layer))
    node = Node(layer.node.op, ("x", *constants), "y", layer.node.attributes)
    graph = Graph("x", (None, *layer.inputs), ("y",), (node,), constants)
    model: onnx.ModelProto = write_graph(graph)
    predict = Predictor(model, threads)
    return lambda x, _: torch.from_numpy(predict(x.numpy()))


def _check(layer: Layer, run: Run, batches: Sequence[int], device: torch.device, where: str) -> None:
    known, node = examples(layer, max(batches)), layer.node
    for batch in batches:
        if not faithful(layer, run, Examples(*(x[:batch] for x in known)), device):
            raise Unfaithful(
                f"node {node.name!r} ({node.op}): {where} does not compute it as sums of float32 products at "
                f"batch {batch} (Winograd, FFT, TF32 or the like), so nothing can be guaranteed on this device"
            )


def faithful(layer: Layer, run: Run, known: Examples, device: torch.device) -> bool:
    """Whether `run` returns the products that the weights of the probe pick, to the bit."""
    return torch.equal(run(known.inputs.to(device), layer.probe.to(device)).cpu(), known.expected)


def probe_input(layer: Layer, batch: int) -> Tensor:
    """Half the values huge, half between 1 and 2, scattered."""
    drawn = torch.randint(2**23, (batch, *layer.inputs), generator=_generator(batch), dtype=torch.int32)
    return _full_mantissas(drawn % 2**22) * torch.where(drawn < 2**22, 2.0**40, 1.0)


def _full_mantissas(drawn: Tensor) -> Tensor:
    """Odd multiples of 2^-23 from 1 to 2, one for each whole number below 2^22."""
    return 1 + (2 * drawn + 1) * 2.0**-23


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _outputs(layer: Layer) -> int:
    """How many output channels or features it has."""
    if layer.node.op == "ConvTranspose":
        return layer.weight[1] * int(layer.node.attributes.get("group", 1))
    return layer.weight[0] if layer.node.op == "Conv" or _rows_first(layer.node) else layer.weight[1]


def _picks(layer: Layer) -> list[tuple[int, ...]]:
    """For each output the position in its own weights of the single one that is not 0: no two neighbours alike."""
    own = _own_weights(layer, torch.empty(layer.weight, device="meta"))  # their shapes are all it takes
    return [
        tuple(int(i) for i in np.unravel_index(7 * o % prod(row.shape), row.shape)) for o, row in enumerate(own)
    ]


def _own_weights(layer: Layer, weight: Tensor) -> list[Tensor]:
    """For each output the weights that it alone reads, as views."""
    if layer.node.op == "ConvTranspose":  # (C, M / groups, ...), where each group has its share of C
        groups = weight.chunk(int(layer.node.attributes.get("group", 1)))
        return [group[:, m] for group in groups for m in range(weight.shape[1])]
    return list(weight if layer.node.op == "Conv" or _rows_first(layer.node) else weight.T)


def probe_weight(layer: Layer) -> Tensor:
    weight = torch.zeros(layer.weight)
    picks = _picks(layer)
    for own, pick, value in zip(_own_weights(layer, weight), picks, _picked_weights(len(picks)), strict=True):
        own[pick] = value
    return weight


def _picked_weights(outputs: int) -> Tensor:
    return _full_mantissas(torch.randint(2**22, (outputs,), generator=_generator(0), dtype=torch.int32))


def picked(layer: Layer, x: Tensor) -> Tensor:
    """What a faithful layer returns: one product each, rounded once."""
    if layer.node.op == "ConvTranspose":  # exact in float64, as nothing but zeros is added
        apply = transposed_convolution(layer.node.attributes, x.ndim - 2)
        return apply(x.double(), probe_weight(layer).double(), None).float()
    picks = _picks(layer)
    values = _picked_weights(len(picks))
    if layer.node.op != "Conv":
        return x[..., [pick[0] for pick in picks]] * values
    attributes, dims = layer.node.attributes, x.ndim - 2
    pads = attributes.get("pads", [0] * 2 * dims)
    padded = F.pad(x, [p for axis in reversed(range(dims)) for p in (pads[axis], pads[dims + axis])])
    per_group = layer.weight[0] // attributes.get("group", 1)
    channels = [
        _window(padded, (o // per_group) * layer.weight[1] + pick[0], pick[1:], layer) * value
        for o, (pick, value) in enumerate(zip(picks, values, strict=True))
    ]
    return torch.stack(channels, dim=1)


def _window(padded: Tensor, channel: int, offset: tuple[int, ...], layer: Layer) -> Tensor:
    """The inputs that one kernel position meets as the kernel moves over one channel."""
    attributes, kernel = layer.node.attributes, layer.weight[2:]
    view = padded[:, channel]
    for axis, (position, size) in enumerate(zip(offset, kernel, strict=True), start=1):
        stride = attributes.get("strides", [1] * len(kernel))[axis - 1]
        dilation = attributes.get("dilations", [1] * len(kernel))[axis - 1]
        count = (padded.shape[axis + 1] - dilation * (size - 1) - 1) // stride + 1
        start = position * dilation
        view = view.narrow(axis, start, (count - 1) * stride + 1)
        view = view[(slice(None),) * axis + (slice(None, None, stride),)]
    return view


def _rows_first(node: Node) -> bool:
    return node.op == "Gemm" and bool(node.attributes.get("transB", 0))
