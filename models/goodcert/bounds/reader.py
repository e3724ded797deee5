"""From an ONNX model to a graph; whatever is not understood is refused by name."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.folding import Shape, fold
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.passes import fixed_reshapes, normalise

OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""What the rules were reviewed against; a newer opset may have given an operator another meaning."""

MAX_NODES = 2**12
"""More than any published classifier has; folding takes time that grows with their square."""


def read_graph(model: onnx.ModelProto, shape: Sequence[int] | None = None, *, fold_weights: bool = True) -> Graph:
    """The normalised graph of a model with one float32 input that varies.

    shape: of the input, where the file leaves it open; ValueError if the file says otherwise.
    fold_weights: fold scales and batch norms into the weights before them, as `passes.normalise` says.
    Raises Unsupported for anything that cannot be bounded: domains, opsets, functions, subgraphs, external
    or sparse weights, weights that are not finite, more than one input, outputs that do not vary.
    """
    _check_model(model)
    name, stated = _only_input(model.graph, {init.name for init in model.graph.initializer})
    if shape is not None:
        _check_shape(shape, stated)
    folded, shapes = fold(model, shape)
    constants = {init.name: _tensor(init, _readers(folded.graph, init.name)) for init in _read(folded.graph)}
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OLDEST_OPSET)
    nodes = [part for i, node in enumerate(folded.graph.node) for part in _nodes(node, i, shapes, opset)]
    ranks = {name: len(sizes) for name, sizes in shapes.items()}
    outputs = tuple(output.name for output in folded.graph.output)
    graph = Graph(name, tuple(shape or stated), outputs, tuple(nodes), constants, ranks, opset)
    return _checked(normalise(fixed_reshapes(graph, shapes), shapes, fold_weights=fold_weights))


def _check_shape(given: Sequence[int], stated: Shape) -> None:
    fits = len(stated) == len(given) and all(s in (None, g) for s, g in zip(stated, given, strict=True))
    if not fits:
        raise ValueError(f"got a box of shape {tuple(given)}, expected {stated}")


def _read(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """The constants that something reads."""
    names = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    return [init for init in graph.initializer if init.name in names]


def _checked(graph: Graph) -> Graph:
    for name, value in graph.constants.items():
        _require_finite(name, value)
    made = {graph.input, *graph.constants, *(node.output for node in graph.nodes)}
    missing = [name for name in graph.outputs if name not in made]
    if missing:
        raise Unsupported(
            f"outputs {missing} are made by no node that is understood, such as the mask of a Dropout"
        )
    constant = [name for name in graph.outputs if name in graph.constants]
    if constant:
        raise Unsupported(f"outputs {constant} do not depend on the input, expected outputs that vary")
    return graph


def _require_finite(name: str, value: torch.Tensor, readers: str = "") -> None:
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise Unsupported(f"weights {name!r} hold NaN or infinity{readers}, expected finite numbers")


def _check_model(model: onnx.ModelProto) -> None:
    if len(model.graph.node) > MAX_NODES:
        raise Unsupported(f"{len(model.graph.node)} nodes, expected at most {MAX_NODES}")
    for init in model.graph.initializer:
        if init.data_location == onnx.TensorProto.EXTERNAL:
            raise Unsupported(f"weights {init.name!r} are external data; store them inside the file")
    for position, node in enumerate(model.graph.node):
        _check_node(node, position)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Unsupported(f"the file is not a valid ONNX model: {str(error).splitlines()[0]}") from error
    _check_opset(model)
    if model.functions:
        raise Unsupported(f"model functions are not supported, got {[f.name for f in model.functions]}")
    if model.training_info:
        raise Unsupported("the file holds a training graph, expected inference alone")
    if model.graph.sparse_initializer:
        raise Unsupported("sparse weights are not supported; store them dense")


def _check_opset(model: onnx.ModelProto) -> None:
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            continue  # refused where a node uses it
        if not OLDEST_OPSET <= opset.version <= NEWEST_OPSET:
            raise Unsupported(f"opset {opset.version}, expected {OLDEST_OPSET} to {NEWEST_OPSET}")


def _only_input(proto: onnx.GraphProto, constants: set[str]) -> tuple[str, tuple[int | None, ...]]:
    inputs = [value for value in proto.input if value.name not in constants]
    if len(inputs) != 1:
        raise Unsupported(f"inputs {[value.name for value in inputs]}, expected exactly one")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = _TYPES.get(tensor.elem_type, f"of the unknown type {tensor.elem_type}")
        raise Unsupported(f"input {inputs[0].name!r} is {kind}, expected FLOAT")
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return inputs[0].name, shape


def _readers(graph: onnx.GraphProto, name: str) -> str:
    """For messages: the operators that read a constant."""
    operators = sorted({node.op_type for node in graph.node if name in node.input})
    return f" (read by {', '.join(operators)})" if operators else ""


def _tensor(init: onnx.TensorProto, readers: str = "") -> torch.Tensor:
    if init.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
        kind = _TYPES.get(init.data_type, f"of the unknown type {init.data_type}")
        raise Unsupported(f"weights {init.name!r} are {kind}{readers}, expected FLOAT (or INT64 shapes)")
    try:
        value = torch.from_numpy(numpy_helper.to_array(init).copy())
    except (ValueError, TypeError) as error:
        raise Unsupported(f"weights {init.name!r}{readers} cannot be read: {error}") from error
    _require_finite(init.name, value, readers)
    return value


_TYPES = {number: name for name, number in onnx.TensorProto.DataType.items()}


def _check_node(proto: onnx.NodeProto, position: int) -> None:
    name = proto.name or f"#{position}"
    if proto.domain in ("", "ai.onnx") and not onnx.defs.has(proto.op_type):
        raise Unsupported(f"node {name!r} ({proto.op_type}): ONNX has no such operator")
    if proto.domain not in ("", "ai.onnx"):
        raise Unsupported(f"node {name!r} ({proto.op_type}): domain {proto.domain!r}, expected the standard one")
    if any(attribute.type in _GRAPHS for attribute in proto.attribute):
        raise Unsupported(f"node {name!r} ({proto.op_type}): control flow is not supported")
    # Before the checker of ONNX sees it, which would look for the file.
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(proto)):
        raise Unsupported(f"node {name!r} ({proto.op_type}): external data; store it inside the file")


def _tensors(proto: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in proto.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _nodes(proto: onnx.NodeProto, position: int, shapes: Mapping[str, Shape], opset: int) -> list[Node]:
    """One node for one output: a Split is read as a node for each of its parts."""
    name = proto.name or f"#{position}"
    attributes = {attribute.name: _attribute(name, proto, attribute) for attribute in proto.attribute}
    inputs = _without_trailing_blanks(proto.input)
    if proto.op_type == "Split":
        parts = [{**attributes, "part": i, "parts": len(proto.output)} for i in range(len(proto.output))]
        return [Node("Split", inputs, o, a, name) for o, a in zip(proto.output, parts, strict=True) if o]
    # Only Dropout leaves an optional output that inference does not need.
    used = [output for output in proto.output if output]
    if len(used) > 1 and proto.op_type != "Dropout":
        raise Unsupported(f"node {name!r} ({proto.op_type}): {len(used)} outputs, expected one")
    node = Node(proto.op_type, inputs, used[0], attributes, name)
    return _last_axis(node, shapes) if opset < 13 and node.op in ("Softmax", "LogSoftmax") else [node]


def _without_trailing_blanks(names: Sequence[str]) -> tuple[str, ...]:
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


def _last_axis(node: Node, shapes: Mapping[str, Shape]) -> list[Node]:
    """Before opset 13 a softmax ran over all axes from the given one on, taken together: over one where all others
    have the length 1."""
    axis, shape = node.attributes.get("axis", 1), shapes.get(node.inputs[0])
    if shape is None:
        raise Unsupported(f"node {node.name!r} ({node.op}): input of unknown rank, expected a known one")
    if any(size != 1 for size in shape[axis % len(shape) + 1 :]):
        raise Unsupported(f"node {node.name!r} ({node.op}): over several axes, expected only the last one")
    return [replace(node, attributes={**node.attributes, "axis": axis})]


def _attribute(name: str, node: onnx.NodeProto, attribute: onnx.AttributeProto) -> Any:
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise Unsupported(f"node {name!r} ({node.op_type}): control flow is not supported")
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _tensor(attribute.t)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, float) and math.isnan(value):
        raise Unsupported(f"node {name!r} ({node.op_type}): {attribute.name} is NaN, expected a number")
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
