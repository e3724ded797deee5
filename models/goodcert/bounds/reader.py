"""From an ONNX model to a graph; whatever is not understood is refused by name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.folding import fold
from goodcert.bounds.graph import Graph, Node, Shape, fits
from goodcert.bounds.passes import fixed_reshapes, normalise
from goodcert.bounds.validation import check_model, opset_of, sizes


def read_graph(model: onnx.ModelProto, shape: Sequence[int] | None = None, *, fold_weights: bool = True) -> Graph:
    """The normalised graph of a model with one float32 input that varies.

    shape: of the input, where the file leaves it open; ValueError if the file says otherwise.
    fold_weights: fold scales and batch norms into the weights before them, as `passes.normalise` says.
    Raises Unsupported for anything that cannot be bounded: domains, opsets, functions, subgraphs, external
    or sparse weights, weights that are not finite, more than one input, outputs that do not vary, and for what
    tools may read differently (validation.py).
    """
    graph = _unnormalised(model, shape)
    return _checked(normalise(graph, fold_weights=fold_weights))


def read_both(model: onnx.ModelProto) -> tuple[Graph, Graph]:
    """(without, with) weights folded: what the file says, layer by layer, and what is served. Raises as
    `read_graph` does."""
    graph = _unnormalised(model, None)
    written, served = (_checked(normalise(graph, fold_weights=fold)) for fold in (False, True))
    return written, served


def _unnormalised(model: onnx.ModelProto, shape: Sequence[int] | None) -> Graph:
    check_model(model)
    name, stated = _only_input(model.graph, {init.name for init in model.graph.initializer})
    if shape is not None:
        _check_shape(shape, stated)
    folded, shapes = fold(model, shape)
    constants = {init.name: _tensor(init, _readers(folded.graph, init.name)) for init in _read(folded.graph)}
    opset = opset_of(model)
    nodes = [part for i, node in enumerate(folded.graph.node) for part in _nodes(node, i, shapes, opset)]
    outputs = tuple(output.name for output in folded.graph.output)
    given = tuple(shape or stated)
    graph = Graph(name, given, outputs, tuple(nodes), constants, _with_stated(model, shapes), opset)
    return fixed_reshapes(graph, shapes)


def _check_shape(given: Sequence[int], stated: Shape) -> None:
    if not fits(stated, given):
        raise ValueError(f"got a box of shape {tuple(given)}, expected {stated}")


def _with_stated(model: onnx.ModelProto, inferred: Mapping[str, Shape]) -> dict[str, Shape]:
    """What is inferred, and what the file states where nothing is. Both are held against the rules
    (interpreter.py): runtimes believe what a file states."""
    shapes = dict(inferred)
    for value in (*model.graph.value_info, *model.graph.output):
        if not value.type.tensor_type.HasField("shape"):
            continue
        stated = sizes(value.type.tensor_type)
        if not stated and value.name not in inferred:
            continue  # how exporters say that they do not know
        known = shapes.get(value.name, (None,) * len(stated))
        differ = any(None not in (a, b) and a != b for a, b in zip(known, stated, strict=False))
        if differ or len(known) != len(stated):
            maker = next((node for node in model.graph.node if value.name in node.output), None)
            where = f"node {maker.name!r} ({maker.op_type}): " if maker else ""
            raise Unsupported(f"{where}value {value.name!r} is of shape {known}, the file states {stated}")
        shapes[value.name] = tuple(b if a is None else a for a, b in zip(known, stated, strict=True))
    return shapes


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


def _only_input(proto: onnx.GraphProto, constants: set[str]) -> tuple[str, tuple[int | None, ...]]:
    inputs = [value for value in proto.input if value.name not in constants]
    if len(inputs) != 1:
        raise Unsupported(f"inputs {[value.name for value in inputs]}, expected exactly one")
    tensor = inputs[0].type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = _TYPES.get(tensor.elem_type, f"of the unknown type {tensor.elem_type}")
        raise Unsupported(f"input {inputs[0].name!r} is {kind}, expected FLOAT")
    return inputs[0].name, sizes(tensor)


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
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _tensor(attribute.t)
    value = helper.get_attribute_value(attribute)
    if isinstance(value, float) and math.isnan(value):
        raise Unsupported(f"node {name!r} ({node.op_type}): {attribute.name} is NaN, expected a number")
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
