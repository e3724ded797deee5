"""Whether a file is a valid ONNX model, of inference alone, and of one meaning.

What tools may read differently is refused: a domain imported twice (some take the first version, some the last), a
name defined twice, a default for an input of another shape or type, attributes that the operator does not have in
this version or that are of another type, stated shapes and types that inference contradicts.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod

import onnx

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Shape, fits

OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""What the rules were reviewed against; a newer opset may have given an operator another meaning."""

MAX_NODES = 2**12
"""More than any published classifier has; folding takes time that grows with their square."""

LARGE = 2**12
"""Constants of more elements are weights: no shape depends on their values."""

_STANDARD = ("", "ai.onnx")
_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def check_model(model: onnx.ModelProto) -> None:
    """Raises Unsupported, by name, for a model that is not valid, not for inference, or ambiguous."""
    if len(model.graph.node) > MAX_NODES:
        raise Unsupported(f"{len(model.graph.node)} nodes, expected at most {MAX_NODES}")
    _check_imports(model)
    for init in model.graph.initializer:
        if init.data_location == onnx.TensorProto.EXTERNAL:
            raise Unsupported(f"weights {init.name!r} are external data; store them inside the file")
    for position, node in enumerate(model.graph.node):
        _check_node(node, opset_of(model), f"node {node.name or f'#{position}'!r} ({node.op_type})")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Unsupported(f"the file is not a valid ONNX model: {str(error).splitlines()[0]}") from error
    _check_extent(model)
    _check_names(model.graph)
    _check_defaults(model.graph)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return next((o.version for o in model.opset_import if o.domain in _STANDARD), OLDEST_OPSET)


def _check_imports(model: onnx.ModelProto) -> None:
    versions: dict[str, list[int]] = {}
    for opset in model.opset_import:
        domain = "ai.onnx" if opset.domain in _STANDARD else opset.domain
        versions.setdefault(domain, []).append(opset.version)
    for domain, several in versions.items():
        if len(several) > 1:
            raise Unsupported(f"duplicate imports of the domain {domain!r}, in versions {several}, expected one")
    if not OLDEST_OPSET <= opset_of(model) <= NEWEST_OPSET:  # other domains are refused where a node uses them
        raise Unsupported(f"opset {opset_of(model)}, expected {OLDEST_OPSET} to {NEWEST_OPSET}")


def _check_extent(model: onnx.ModelProto) -> None:
    if model.functions:
        raise Unsupported(f"model functions are not supported, got {[f.name for f in model.functions]}")
    if model.training_info:
        raise Unsupported("the file holds a training graph, expected inference alone")
    if model.graph.sparse_initializer:
        raise Unsupported("sparse weights are not supported; store them dense")


# --- nodes --------------------------------------------------------------------------------------------


def _check_node(node: onnx.NodeProto, opset: int, who: str) -> None:
    if node.domain in _STANDARD and not onnx.defs.has(node.op_type):
        raise Unsupported(f"{who}: ONNX has no such operator")
    if node.domain not in _STANDARD:
        raise Unsupported(f"{who}: domain {node.domain!r}, expected the standard one")
    if any(attribute.type in _GRAPHS for attribute in node.attribute):
        raise Unsupported(f"{who}: control flow is not supported")
    # Before the checker of ONNX sees it, which would look for the file.
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(node)):
        raise Unsupported(f"{who}: external data; store it inside the file")
    _check_attributes(node, opset, who)


def _tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _check_attributes(node: onnx.NodeProto, opset: int, who: str) -> None:
    """The checker of ONNX lets attributes pass whose names begin with two underscores."""
    try:
        known = onnx.defs.get_schema(node.op_type, opset, "").attributes
    except onnx.defs.SchemaError as error:
        raise Unsupported(f"{who}: opset {opset} has no such operator") from error
    if repeated := _repeated(attribute.name for attribute in node.attribute):
        raise Unsupported(f"{who}: attributes {repeated} are given twice")
    for attribute in node.attribute:
        name, kind = attribute.name, onnx.AttributeProto.AttributeType.Name(attribute.type)
        if name not in known:
            raise Unsupported(f"{who}: attributes {[name]} are not those of opset {opset}: {sorted(known)}")
        expected = str(known[name].type).rpartition(".")[2]
        if kind != expected or attribute.ref_attr_name:
            raise Unsupported(f"{who}: attribute {name!r} is {kind}, expected {expected}")


# --- names, shapes and types --------------------------------------------------------------------------


def _check_names(graph: onnx.GraphProto) -> None:
    made = [name for node in graph.node for name in node.output if name]
    held = [init.name for init in graph.initializer]
    taken = [value.name for value in graph.input]
    for names in (taken, [*made, *held], [*made, *taken]):
        if repeated := _repeated(names):
            raise Unsupported(f"the names {repeated} are defined twice, expected one definition each")


def _check_defaults(graph: onnx.GraphProto) -> None:
    """An initializer that is also listed as an input is a default. Who runs the file runs it with that."""
    inputs = {value.name: value.type.tensor_type for value in graph.input}
    for init in graph.initializer:
        kind = inputs.get(init.name)
        if kind is None:
            continue
        if kind.elem_type != init.data_type or (kind.HasField("shape") and not fits(sizes(kind), init.dims)):
            raise Unsupported(
                f"weights {init.name!r} are of another shape or type than the input of that name, expected the "
                "same or no such input"
            )


def sizes(kind: onnx.TypeProto.Tensor) -> Shape:
    """The shape that a type states."""
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim)


def check_inference(model: onnx.ModelProto) -> None:
    """Raises Unsupported unless the stated shapes and types are those that follow from the inputs'.

    The last of all checks: others name what is wrong, this one often what meets it.
    """
    light = without_weights(model)
    try:
        onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise Unsupported(_in_our_words(str(error))) from error


def _in_our_words(message: str) -> str:
    last = [line for line in message.splitlines() if line.strip()][-1:]
    found = re.search(r"\(op_type:(\w*), node name: (.*?)\): (?:\[\w+\] )?(.*)", message)
    if found is None:
        return f"the shapes of the graph do not fit together: {' '.join(last)}"
    operator, name, reason = found.groups()
    return f"node {name!r} ({operator}): shapes or types do not fit together: {reason}"


def without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large constants are inputs: inference reads their shapes alone, but would copy them."""
    graph = model.graph
    large = [init for init in graph.initializer if prod(init.dims) > LARGE]
    if not large:
        return model
    names = {init.name for init in large}
    kept = [init for init in graph.initializer if init.name not in names]
    inputs = [value for value in graph.input if value.name not in names]
    inputs += [onnx.helper.make_tensor_value_info(init.name, init.data_type, init.dims) for init in large]
    light = onnx.helper.make_graph(graph.node, graph.name, inputs, graph.output, kept, value_info=graph.value_info)
    return onnx.helper.make_model(light, opset_imports=model.opset_import, ir_version=model.ir_version)


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
