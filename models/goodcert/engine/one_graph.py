"""Prediction and bound as one ONNX model, spelled the way ONNX Runtime is fastest at.

Both read the same dense weights: stacked into one product these are read once, and at batch 1 reading them is
most of the time of a wide network. And ONNX Runtime keeps values in its blocked layout only from Conv to Conv, Add
and Relu: a subtraction between two convolutions costs two reorderings, more than itself. As a depthwise 1x1
convolution by -1 it stays in the layout, and is fused with the addition that follows. It is the same arithmetic: a
product by a constant, and one sum.
"""

import io
import warnings
from collections.abc import Iterator
from graphlib import TopologicalSorter

import numpy as np
import onnx
import torch
import torch.onnx  # now, not at the first export: processes that are forked later share it
from onnx import GraphProto, NodeProto, TensorProto, compose, helper, numpy_helper

from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.graph import Graph, sums_branches
from goodcert.bounds.writer import write_graph

OPSETS = range(17, 21)
"""Versions of the operators that torch's tracing exporter writes and that mean what the bounds need."""

_BLOCK = 16
"""Channels are laid out in blocks of 8 or 16."""


def one_graph(graph: Graph) -> onnx.ModelProto:
    """A model from `point`, `lower`, `upper`, float32 (N, C, H, W), to `logits`, float32 (N, K), which the graph
    computes at the point, and `margins`, float64 (N, K, K), for the box. `graph.opset` must be in `OPSETS`."""
    model = export_margins(graph, graph.opset)
    _lift_constants(model.graph)
    _join(model.graph, compose.add_prefix(write_graph(graph), "prediction:").graph)
    _stack_dense(model.graph, graph.opset)
    if not sums_branches(graph):  # whose sums must not be fused into convolutions (runtime.py)
        _spell_in_blocks(model.graph)
    return model


def export_margins(graph: Graph, opset: int = OPSETS[0]) -> onnx.ModelProto:
    """The margins of `graph` as an ONNX model with a free batch axis, from `lower` and `upper` to `margins`."""
    shape = [2, *(size or 1 for size in graph.input_shape[1:])]
    box = torch.zeros(shape), torch.ones(shape)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is the older one, and twenty times faster: it runs at every start. It warns of
        # that, and of shapes that become constants, which they are: only the batch is free, and no shape is
        # read from it. The self-check runs the result at many batch sizes.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            MarginModule(graph).eval(),
            box,
            file,  # type: ignore[arg-type]  # this exporter also writes to open files
            dynamo=False,
            opset_version=opset,
            input_names=["lower", "upper"],
            output_names=["margins"],
            dynamic_axes={"lower": {0: "N"}, "upper": {0: "N"}},
        )
    return onnx.load_model_from_string(file.getvalue())


def _lift_constants(graph: GraphProto) -> None:
    """Constant nodes as initializers, where a rewriting finds them by name."""
    rest = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = node.attribute[0].t
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            rest.append(node)
    _replace_nodes(graph, rest)


def _join(graph: GraphProto, prediction: GraphProto) -> None:
    """The prediction beside the bound, its one input and output named for what they are."""
    names = {prediction.input[0].name: "point", prediction.output[0].name: "logits"}
    for node in prediction.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    image, logits = prediction.input[0], prediction.output[0]
    image.name, logits.name = "point", "logits"
    graph.node.extend(prediction.node)
    graph.initializer.extend(prediction.initializer)
    graph.input.insert(0, image)
    graph.output.insert(0, logits)


def _stack_dense(graph: GraphProto, opset: int) -> None:
    """One product in place of two with the same weights and bias, neither of which needs the other's result: the
    rows of both, one upon the other."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    alone: dict[bytes, list[NodeProto]] = {}
    nodes = list(graph.node)
    for node in graph.node:
        if node.op_type != "Gemm" or not all(name in weights for name in node.input[1:]):
            continue
        alike = alone.setdefault(_operation(node, weights), [])
        partner = next((n for n in alike if not (_needs(node, n, nodes) or _needs(n, node, nodes))), None)
        if partner is None:
            alike.append(node)
            continue
        alike.remove(partner)
        nodes = [n for n in nodes if n is not partner and n is not node]
        nodes += _stacked(partner, node, opset)
    _replace_nodes(graph, nodes)


def _needs(node: NodeProto, other: NodeProto, nodes: list[NodeProto]) -> bool:
    """Whether `node` reads what is computed from the result of `other`, at whatever remove. In `nodes` as they are
    by now: what is stacked needs what either of the two needed."""
    makers = {name: n for n in nodes for name in n.output}
    met: set[str] = set()
    ahead = list(node.input)
    while ahead:
        name = ahead.pop()
        if name in makers and name not in met:
            met.add(name)
            ahead += makers[name].input
    return not met.isdisjoint(other.output)


def _operation(node: NodeProto, weights: dict[str, TensorProto]) -> bytes:
    """What the node does to its first input, attributes with their defaults left out."""
    plain = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    changed = {k: v for k, v in sorted(plain.items()) if v != {"alpha": 1.0, "beta": 1.0}.get(k, 0)}
    values = [numpy_helper.to_array(weights[name]) for name in node.input[1:]]
    return repr((changed, [v.shape for v in values])).encode() + b"".join(v.tobytes() for v in values)


def _stacked(first: NodeProto, second: NodeProto, opset: int) -> Iterator[NodeProto]:
    name = f"{first.output[0]}+{second.output[0]}"
    yield helper.make_node("Concat", [first.input[0], second.input[0]], [f"{name}:rows"], axis=0)
    both = helper.make_node("Gemm", [f"{name}:rows", *second.input[1:]], [name])
    both.attribute.extend(second.attribute)
    yield both
    split = helper.make_node("Split", [name], [first.output[0], second.output[0]], axis=0)
    if opset >= 18:  # before, the number of outputs said it
        split.attribute.append(helper.make_attribute("num_outputs", 2))
    yield split


def _spell_in_blocks(graph: GraphProto) -> None:
    """a - b, and a - k b for a number k, as a + conv(b), for values that convolutions make in whole blocks."""
    channels = _channels(graph)
    numbers = {t.name: float(numpy_helper.to_array(t)) for t in graph.initializer if not t.dims}
    scaled = {node.output[0]: node for node in graph.node if node.op_type == "Mul" and node.input[1] in numbers}
    nodes = []
    for node in graph.node:
        width = min(channels.get(name, 0) for name in node.input) if node.op_type == "Sub" else 0
        if not width or width % _BLOCK:
            nodes.append(node)
            continue
        minuend, subtrahend = node.input
        factor = 1.0
        if subtrahend in scaled:
            subtrahend, factor = scaled[subtrahend].input[0], numbers[scaled[subtrahend].input[1]]
        weight, product = f"{node.output[0]}:weight", f"{node.output[0]}:product"
        value = np.full((width, 1, 1, 1), -factor, np.float32)
        graph.initializer.append(numpy_helper.from_array(value, weight))
        nodes.append(helper.make_node("Conv", [subtrahend, weight], [product], group=width, kernel_shape=[1, 1]))
        nodes.append(helper.make_node("Add", [minuend, product], node.output))
    _replace_nodes(graph, nodes)


def _channels(graph: GraphProto) -> dict[str, int]:
    """How many channels a value has, for images that a convolution made and what is done to them pointwise."""
    weights = {tensor.name: tensor.dims for tensor in graph.initializer}
    channels: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "Conv" and len(weights.get(node.input[1], ())) == 4:
            channels[node.output[0]] = weights[node.input[1]][0]
        elif node.op_type in ("Add", "Mul", "Relu", "Sub"):
            known = [channels[name] for name in node.input if name in channels]
            plain = all(name in channels or (name in weights and not weights[name]) for name in node.input)
            if plain and len(set(known)) == 1:
                channels[node.output[0]] = known[0]
    return channels


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    """In an order in which every value is computed before it is used, and without what no output depends on."""
    makers = {name: i for i, node in enumerate(nodes) for name in node.output}
    reads = {i: [makers[name] for name in node.input if name in makers] for i, node in enumerate(nodes)}
    ordered = [nodes[i] for i in TopologicalSorter(reads).static_order()]
    needed, kept = {output.name for output in graph.output}, []
    for node in reversed(ordered):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(constants)
