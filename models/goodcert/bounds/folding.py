"""What does not depend on the values of the input, only on shapes and constants, is computed at load.

ONNX to ONNX: shapes come from onnx's own inference, values from its reference implementation, a node at a time.
Only what cannot round is computed here: movements of constants, and arithmetic on whole numbers. Sums and
products of float constants are left to the passes (which round once, for the prediction and the bound) or to the
rules (which bound them).
"""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Shape
from goodcert.bounds.targets import Size, resolve
from goodcert.bounds.validation import without_weights

MOVES = frozenset({
    "Cast", "CastLike", "Concat", "Constant", "ConstantOfShape", "Expand", "EyeLike", "Flatten", "Gather",
    "GatherElements", "GatherND", "Identity", "OneHot", "Pad", "Reshape", "ScatterND", "Shape", "Size",
    "Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
})  # fmt: skip
WHOLE = frozenset({
    "Abs", "Add", "And", "Ceil", "Div", "Equal", "Floor", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Range", "ReduceMax",
    "ReduceMin", "ReduceProd", "ReduceSum", "Sign", "Sub",
})  # fmt: skip
MAX_ELEMENTS = 2**26
"""No folded constant may be larger: a file of a few bytes could ask for any size."""


def fold(model: onnx.ModelProto, shape: Sequence[int] | None = None) -> tuple[onnx.ModelProto, dict[str, Shape]]:
    """(the folded model, the shapes that are known). shape: of the input, where the file leaves it open."""
    model = _with_input_shape(model, shape)
    while True:
        named = infer_shapes(model)
        shapes = {name: tuple(n if isinstance(n, int) else None for n in sizes) for name, sizes in named.items()}
        folded = [node for node in model.graph.node if _fold(model, node, shapes)]
        for node in folded:
            model.graph.node.remove(node)
        if not folded and not resolve(model, named):
            return model, shapes


def _with_input_shape(model: onnx.ModelProto, shape: Sequence[int] | None) -> onnx.ModelProto:
    """A copy that claims nothing about shapes but those of its inputs: the rest is inferred, not believed.
    Constants are no inputs in it, as they are in files before version 4."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 4)
    del copy.graph.value_info[:]
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    constants = {init.name for init in copy.graph.initializer}
    inputs = [value for value in copy.graph.input if value.name not in constants]
    del copy.graph.input[:]
    copy.graph.input.extend(inputs)
    for value in copy.graph.input:
        if shape is not None:
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, list(shape)))
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if not size.HasField("dim_value") and not size.dim_param:
                size.dim_param = f"{value.name}/{axis}"
    return copy


def infer_shapes(model: onnx.ModelProto) -> dict[str, tuple[Size, ...]]:
    """By name; a free axis is its name, an unknown one None. Values of unknown rank are left out."""
    try:
        graph = onnx.shape_inference.infer_shapes(without_weights(model), data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise Unsupported(f"the shapes of the graph do not fit together: {str(error).splitlines()[0]}") from error
    values = [v for v in (*graph.input, *graph.value_info, *graph.output) if v.type.tensor_type.HasField("shape")]
    shapes: dict[str, tuple[Size, ...]] = {v.name: _sizes(v) for v in values}
    return shapes | {init.name: tuple(init.dims) for init in graph.initializer}


def _sizes(value: onnx.ValueInfoProto) -> tuple[Size, ...]:
    axes = value.type.tensor_type.shape.dim
    return tuple(axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in axes)


def _fold(model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict[str, Shape]) -> bool:
    """Whether the node was computed and its outputs are constants now."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in MOVES | WHOLE:
        return False
    constants = {init.name: init for init in model.graph.initializer}
    if node.op_type in ("Shape", "Size") and node.input[0] not in constants:
        return _fold_shape(model, node, shapes.get(node.input[0]))
    if node.op_type in ("Gather", "Slice") and _fold_part(model, node, constants, shapes):
        return True
    if any(name and name not in constants for name in node.input) or _too_large(node, shapes):
        return False
    inputs = {name: numpy_helper.to_array(constants[name]) for name in node.input if name}
    if node.op_type in WHOLE and any(np.issubdtype(value.dtype, np.floating) for value in inputs.values()):
        return False
    _store(model, node, _evaluate(model, node, inputs))
    return True


def _too_large(node: onnx.NodeProto, shapes: dict[str, Shape]) -> bool:
    known = [shapes[name] for name in node.output if name in shapes]
    return any(
        prod(size or MAX_ELEMENTS + 1 for size in shape) > MAX_ELEMENTS for shape in known if 0 not in shape
    )


def _fold_part(
    model: onnx.ModelProto, node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], shapes: dict[str, Shape]
) -> bool:
    """Whether the node picks sizes of a Shape that are known, though others, such as the batch, are not."""
    producer = next((n for n in model.graph.node if node.input[0] in n.output), None)
    if producer is None or producer.op_type != "Shape" or any(n not in constants for n in node.input[1:] if n):
        return False
    shape = shapes.get(producer.input[0])
    if shape is None:
        return False
    sizes = _part_of(producer, [_UNKNOWN if size is None else size for size in shape])
    inputs = {name: numpy_helper.to_array(constants[name]) for name in node.input[1:] if name}
    values = _evaluate(model, node, {node.input[0]: sizes, **inputs})
    if any((value == _UNKNOWN).any() for value in values):
        return False
    _store(model, node, values)
    return True


_UNKNOWN = -1
"""In the place of a size: sizes are not negative."""


def _part_of(node: onnx.NodeProto, sizes: Sequence[int]) -> NDArray[np.int64]:
    """What a Shape gives of the sizes: all, or those from `start` to `end`."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return np.array(sizes, np.int64)[slice(attributes.get("start", 0), attributes.get("end", len(sizes)))]


def _fold_shape(model: onnx.ModelProto, node: onnx.NodeProto, shape: Shape | None) -> bool:
    if shape is None or None in shape:
        return False
    sizes = [size for size in shape if size is not None]
    value = np.array(prod(sizes), np.int64) if node.op_type == "Size" else _part_of(node, sizes)
    _store(model, node, [value])
    return True


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, inputs: dict[str, NDArray[np.generic]]
) -> list[NDArray[np.generic]]:
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in inputs.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "fold", infos, outputs)
    single = helper.make_model(graph, opset_imports=list(model.opset_import))
    try:
        results = ReferenceEvaluator(single).run(None, inputs)
    except Exception as error:
        raise Unsupported(f"node {node.name!r} ({node.op_type}): cannot be computed: {error}") from error
    return [np.asarray(result) for result in results]


def _store(model: onnx.ModelProto, node: onnx.NodeProto, values: Sequence[NDArray[np.generic]]) -> None:
    names = [name for name in node.output if name]
    for name, value in zip(names, values, strict=True):
        model.graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        )
