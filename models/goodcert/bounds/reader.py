"""From an ONNX model to a graph; whatever is not understood is refused by name."""

from typing import Any

import onnx
import torch
from onnx import helper, numpy_helper

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.passes import normalise

OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""What the rules were reviewed against; a newer opset may have given an operator another meaning."""


def read_graph(model: onnx.ModelProto, *, fold_weights: bool = True) -> Graph:
    """The normalised graph of a model with one float32 input that varies.

    fold_weights: fold scales and batch norms into the weights before them, as `passes.normalise` says.
    Raises Unsupported for anything that cannot be bounded: domains, opsets, functions, subgraphs, external
    or sparse weights, weights that are not finite, more than one input, outputs that do not vary.
    """
    _check_model(model)
    proto = model.graph
    constants = {init.name: _tensor(init) for init in proto.initializer}
    name, shape = _only_input(proto, set(constants))
    outputs = tuple(output.name for output in proto.output)
    nodes = tuple(_node(node, position) for position, node in enumerate(proto.node))
    graph = Graph(name, shape, outputs, nodes, constants, _ranks(model))
    return _checked(normalise(graph, fold_weights=fold_weights))


def _checked(graph: Graph) -> Graph:
    for name, value in graph.constants.items():
        _require_finite(name, value)
    constant = [name for name in graph.outputs if name in graph.constants]
    if constant:
        raise Unsupported(f"outputs {constant} do not depend on the input, expected outputs that vary")
    return graph


def _require_finite(name: str, value: torch.Tensor) -> None:
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise Unsupported(f"weights {name!r} hold NaN or infinity, expected finite numbers")


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError as error:
        raise Unsupported(f"the shapes of the graph contradict each other: {error}") from error
    values = [*inferred.input, *inferred.value_info, *inferred.output]
    return {v.name: len(v.type.tensor_type.shape.dim) for v in values if v.type.tensor_type.HasField("shape")}


def _check_model(model: onnx.ModelProto) -> None:
    for position, node in enumerate(model.graph.node):
        if node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type):
            raise Unsupported(f"node {node.name or f'#{position}'!r} ({node.op_type}): ONNX has no such operator")
    for init in model.graph.initializer:
        if init.data_location == onnx.TensorProto.EXTERNAL:
            raise Unsupported(f"weights {init.name!r} are external data; store them inside the file")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Unsupported(f"the file is not a valid ONNX model: {str(error).splitlines()[0]}") from error
    _check_opset(model)
    if model.functions:
        raise Unsupported(f"model functions are not supported, got {[f.name for f in model.functions]}")
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
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        raise Unsupported(f"input {inputs[0].name!r} is {kind}, expected FLOAT")
    shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
    return inputs[0].name, shape


def _tensor(init: onnx.TensorProto) -> torch.Tensor:
    if init.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL):
        kind = onnx.TensorProto.DataType.Name(init.data_type)
        raise Unsupported(f"weights {init.name!r} are {kind}, expected FLOAT (or INT64 shapes)")
    value = torch.from_numpy(numpy_helper.to_array(init).copy())
    _require_finite(init.name, value)
    return value


def _node(proto: onnx.NodeProto, position: int) -> Node:
    name = proto.name or f"#{position}"
    if proto.domain not in ("", "ai.onnx"):
        raise Unsupported(f"node {name!r} ({proto.op_type}): domain {proto.domain!r}, expected the standard one")
    # Only Dropout and BatchNormalization leave optional outputs that inference does not need.
    used = [output for output in proto.output if output]
    if len(used) > 1 and proto.op_type != "Dropout":
        raise Unsupported(f"node {name!r} ({proto.op_type}): {len(used)} outputs, expected one")
    attributes = {attribute.name: _attribute(name, proto, attribute) for attribute in proto.attribute}
    return Node(proto.op_type, tuple(proto.input), used[0], attributes, name)


def _attribute(name: str, node: onnx.NodeProto, attribute: onnx.AttributeProto) -> Any:
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise Unsupported(f"node {name!r} ({node.op_type}): control flow is not supported")
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _tensor(attribute.t)
    value = helper.get_attribute_value(attribute)
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
