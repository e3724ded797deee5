"""The canary: layers whose right answer is known to the bit, run through the kernels that will certify.

The rounding theorem is about sums of products. Winograd and FFT kernels first mix neighbouring inputs, TF32
and bfloat16 kernels shorten them. A layer with a single weight of 1 among zeros must return the input it
picks exactly, however large the inputs under the zeros: 0 times 2^40 is 0, and 1 times 1 + 2^-20 is itself.
A kernel that mixes loses the small value beside the huge one, one that shortens rounds it to 1. Libraries
choose kernels by shape and batch, so every layer of the model is tried in its own shape.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.affine import convolution, crops, explicit_pads, transposed_convolution
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT
from goodcert.bounds.rule import pad_order
from goodcert.bounds.writer import write_graph
from goodcert.engine.errors import EngineError
from goodcert.engine.prediction import Predictor

BATCHES = (1, 2, 3, 5, 7, 16, 31, 64)

Run = Callable[[Tensor, Tensor], Tensor]
"""A layer under test: from inputs and weights to outputs, with a bias of zeros as the engine's layers have."""


@dataclass(frozen=True)
class Layer:
    """One Conv, ConvTranspose, Gemm or MatMul of the model: `inputs` is the shape of one input, without the
    batch.
    """

    node: Node
    inputs: tuple[int, ...]
    weight: tuple[int, ...]


def layers(graph: Graph) -> list[Layer]:
    """Every convolution and dense layer of the graph."""
    device = next((value.device for value in graph.constants.values()), torch.device("cpu"))
    image = torch.zeros(1, *(size or 1 for size in graph.input_shape[1:]), device=device)
    values = prepare(graph, EXACT).trace(Interval(image, image))
    return [
        Layer(
            _plainly_padded(node, graph, values),
            tuple(values[node.inputs[0]].lower.shape[1:]),
            tuple(graph.constants[node.inputs[1]].shape),
        )
        for node in graph.nodes
        if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul")
    ]


def _plainly_padded(node: Node, graph: Graph, values: Mapping[str, Interval]) -> Node:
    """A convolution with auto_pad spelled out for the sizes that it meets."""
    if node.op != "Conv" or "auto_pad" not in node.attributes:
        return node
    kernel, sizes = graph.constants[node.inputs[1]].shape[2:], values[node.inputs[0]].lower.shape[2:]
    begin, end = explicit_pads(node.attributes, kernel, sizes)
    rest = {name: value for name, value in node.attributes.items() if name != "auto_pad"}
    return replace(node, attributes={**rest, "pads": [*begin, *end]})


def check_bounds(graph: Graph, device: torch.device, batches: Iterable[int]) -> None:
    """Try PyTorch's kernels on `device`. Raises EngineError, naming the layer, if one is not faithful."""
    for layer in layers(graph):
        for batch in batches:
            _check(layer, torch_layer(layer), batch, device, f"PyTorch on {device.type}")


def check_prediction(graph: Graph, threads: int | None, batches: Iterable[int]) -> None:
    """Try ONNX Runtime's kernels. Raises EngineError, naming the layer, if one is not faithful."""
    for layer in layers(graph):
        run = onnx_layer(layer, threads)
        for batch in batches:
            _check(layer, run, batch, torch.device("cpu"), "ONNX Runtime")


def torch_layer(layer: Layer) -> Run:
    make = {"Conv": convolution, "ConvTranspose": transposed_convolution}.get(layer.node.op)
    if make:
        apply = make(layer.node.attributes, len(layer.inputs) - 1)
        return lambda x, weight: apply(x, weight, weight.new_zeros(_outputs(layer)))
    rows = _rows_first(layer.node)
    return lambda x, weight: F.linear(x, weight if rows else weight.T, weight.new_zeros(weight.shape[not rows]))


def onnx_layer(layer: Layer, threads: int | None) -> Run:
    """The layer alone in ONNX Runtime. The weight is part of the model, as runtimes pre-pack weights."""
    constants = {"w": canary_weight(layer)}
    if layer.node.op != "MatMul":
        constants["b"] = torch.zeros(_outputs(layer))
    node = Node(layer.node.op, ("x", *constants), "y", layer.node.attributes)
    graph = Graph("x", (None, *layer.inputs), ("y",), (node,), constants)
    model: onnx.ModelProto = write_graph(graph)
    predict = Predictor(model, threads)
    return lambda x, _: torch.from_numpy(predict(x.numpy()))


def _check(layer: Layer, run: Run, batch: int, device: torch.device, where: str) -> None:
    if not faithful(layer, run, batch, device):
        node = layer.node
        raise EngineError(
            f"node {node.name!r} ({node.op}): {where} does not compute it as sums of float32 products at batch "
            f"{batch} (Winograd, FFT, TF32 or the like), so nothing can be guaranteed on this device"
        )


def faithful(layer: Layer, run: Run, batch: int, device: torch.device) -> bool:
    """Whether `run` returns the inputs that the canary's weights pick, to the bit."""
    x, weight = canary_input(layer, batch), canary_weight(layer)
    return torch.equal(run(x.to(device), weight.to(device)).cpu(), picked(layer, x))


def canary_input(layer: Layer, batch: int) -> Tensor:
    """Half the values huge, half 1 + a few 2^-20, scattered."""
    generator = torch.Generator().manual_seed(batch)
    shape = (batch, *layer.inputs)
    small = 1 + torch.randint(1, 8, shape, generator=generator) * 2.0**-20
    huge = torch.rand(shape, generator=generator) < 0.5
    return torch.where(huge, 2.0**40 * small, small)


def _outputs(layer: Layer) -> int:
    """How many channels or features the layer computes."""
    if layer.node.op == "ConvTranspose":
        return layer.weight[1] * _groups(layer)
    return layer.weight[0 if layer.node.op == "Conv" or _rows_first(layer.node) else 1]


def _groups(layer: Layer) -> int:
    return int(layer.node.attributes.get("group", 1))


def _picks(layer: Layer) -> list[tuple[int, ...]]:
    """For each output channel the position in its own weights of the single 1: no two neighbours alike."""
    own = tuple(_by_output(layer, torch.zeros(layer.weight))[0].shape)
    return [tuple(int(i) for i in np.unravel_index(7 * o % prod(own), own)) for o in range(_outputs(layer))]


def _by_output(layer: Layer, weight: Tensor) -> list[Tensor]:
    """For each output channel a view of its own weights: (input channels of its group, ...kernel), or features."""
    if layer.node.op == "ConvTranspose":
        return [rows[:, o] for rows in weight.chunk(_groups(layer)) for o in range(layer.weight[1])]
    return list(weight if layer.node.op == "Conv" or _rows_first(layer.node) else weight.T)


def canary_weight(layer: Layer) -> Tensor:
    weight = torch.zeros(layer.weight)
    for own, pick in zip(_by_output(layer, weight), _picks(layer), strict=True):
        own[pick] = 1.0
    return weight


def picked(layer: Layer, x: Tensor) -> Tensor:
    """What a faithful layer returns: the picked inputs, moved and never computed with."""
    if layer.node.op == "ConvTranspose":
        return _scattered(layer, x)
    if layer.node.op != "Conv":
        return torch.stack([x[..., pick[0]] for pick in _picks(layer)], dim=-1)
    attributes, dims = layer.node.attributes, x.ndim - 2
    pads = attributes.get("pads", [0] * 2 * dims)
    padded = F.pad(x, [p for axis in reversed(range(dims)) for p in (pads[axis], pads[dims + axis])])
    per_group = layer.weight[0] // attributes.get("group", 1)
    channels = [
        _window(padded, (o // per_group) * layer.weight[1] + pick[0], pick[1:], layer)
        for o, pick in enumerate(_picks(layer))
    ]
    return torch.stack(channels, dim=1)


def _scattered(layer: Layer, x: Tensor) -> Tensor:
    """Every picked channel between the zeros that strides leave, shifted by its place in the kernel, then
    cropped.
    """
    attributes, kernel, sizes = layer.node.attributes, layer.weight[2:], list(x.shape[2:])
    ones = [1] * len(kernel)
    strides, dilations = attributes.get("strides", ones), attributes.get("dilations", ones)
    steps = list(zip(sizes, kernel, strides, dilations, strict=True))
    whole = x.new_zeros(len(x), _outputs(layer), *((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in steps))
    for o, (channel, *offset) in enumerate(_picks(layer)):
        places: list[int | slice] = [slice(None), o]
        places += [slice(p * d, p * d + (n - 1) * s + 1, s) for p, (n, _, s, d) in zip(offset, steps, strict=True)]
        first = o // layer.weight[1] * (layer.weight[0] // _groups(layer))
        whole[tuple(places)] = x[:, first + channel]
    begin, end = crops(attributes, list(whole.shape[2:]), sizes)
    return F.pad(whole, pad_order([-p for p in begin], [-p for p in end]))


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
