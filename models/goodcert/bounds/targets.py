"""Shapes that a graph computes from the size of its batch become constants, as that of `x.view(x.size(0), -1)`.

Shape inference names the axes that are free. Such names are followed through everything that moves sizes about;
where one meets an axis of the same name, that axis simply stays as it is, and no size is needed to say so.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

Size = int | str | None
"""Known, free under a name, or unknown."""

Sizes = Sequence[Size]

_FIRST_WITH_AXES = 18
"""The opset in which a Resize may leave axes out."""


def resolve(model: onnx.ModelProto, shapes: Mapping[str, Sizes]) -> bool:
    """Give Reshape, Expand and Resize constant targets where names allow it; whether there were any."""
    constants = {init.name for init in model.graph.initializer}
    vectors = _vectors(model, shapes)
    rewritten = [
        node
        for node in model.graph.node
        if node.op_type in _TARGETS
        and (place := _PLACES[node.op_type]) < len(node.input)
        and node.input[place] not in constants
        and node.input[place] in vectors
        and _TARGETS[node.op_type](model, node, vectors[node.input[place]], shapes.get(node.input[0]))
    ]
    return bool(rewritten)


def _vectors(model: onnx.ModelProto, shapes: Mapping[str, Sizes]) -> dict[str, Sizes]:
    """The elements of every vector of sizes, as far as it was only moved."""
    vectors: dict[str, Sizes] = {}
    for init in model.graph.initializer:
        if init.data_type == onnx.TensorProto.INT64 and len(init.dims) < 2:
            vectors[init.name] = [int(v) for v in numpy_helper.to_array(init).reshape(-1)]
    for node in model.graph.node:
        if node.op_type == "Shape" and node.input[0] in shapes:
            vectors[node.output[0]] = shapes[node.input[0]][_from_to(node)]
        elif node.op_type in _MOVES and all(name in vectors for name in node.input if name):
            moved = _MOVES[node.op_type](*(vectors.get(name, ()) for name in node.input))
            if moved is not None:
                vectors[node.output[0]] = moved
    return vectors


def _from_to(node: onnx.NodeProto) -> slice:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return slice(attributes.get("start", 0), attributes.get("end"))


# --- what moves sizes ---------------------------------------------------------------------------------


def _gathered(sizes: Sizes, indices: Sizes) -> Sizes | None:
    known = [i for i in indices if isinstance(i, int) and -len(sizes) <= i < len(sizes)]
    return [sizes[i] for i in known] if len(known) == len(indices) else None


def _sliced(sizes: Sizes, *parts: Sizes) -> Sizes | None:
    """From start to end along the one axis there is, as newer opsets write it; and in steps of 1."""
    start, end = (part[0] if part else None for part in (*parts, (), ())[:2])
    steps = parts[3] if len(parts) > 3 and parts[3] else [1]
    if not isinstance(start, int) or not isinstance(end, int) or list(steps) != [1]:
        return None
    return sizes[start:end]


def _joined(*parts: Sizes) -> Sizes:
    return [size for part in parts for size in part]


def _same(sizes: Sizes, *_: Sizes) -> Sizes:
    return sizes


_MOVES: Mapping[str, Callable[..., Sizes | None]] = {
    "Cast": _same, "Concat": _joined, "Gather": _gathered, "Identity": _same, "Slice": _sliced,
    "Squeeze": _same, "Unsqueeze": _same,
}  # fmt: skip


# --- what sizes are for -------------------------------------------------------------------------------


def _reshape(model: onnx.ModelProto, node: onnx.NodeProto, sizes: Sizes, shape: Sizes | None) -> bool:
    """0 keeps an axis; -1 is what is left, where there is no other."""
    zero_is_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
    kept = [_stays(size, i, shape) and not zero_is_zero for i, size in enumerate(sizes)]
    target = [0 if keep else size for size, keep in zip(sizes, kept, strict=True)]
    free = [size for size in target if not isinstance(size, int)]
    if len(free) == 1 and isinstance(free[0], str) and -1 not in target:
        target = [size if isinstance(size, int) else -1 for size in target]
    return _store(model, node, target)


def _expand(model: onnx.ModelProto, node: onnx.NodeProto, sizes: Sizes, shape: Sizes | None) -> bool:
    """1 broadcasts to whatever is there; axes are counted from the last."""
    lead = len(sizes) - len(shape or ())
    return _store(model, node, [1 if _stays(size, i - lead, shape) else size for i, size in enumerate(sizes)])


def _resize(model: onnx.ModelProto, node: onnx.NodeProto, sizes: Sizes, shape: Sizes | None) -> bool:
    """Axes that keep their size are left out."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset < _FIRST_WITH_AXES or any(a.name == "axes" for a in node.attribute):
        return False
    axes = [i for i, size in enumerate(sizes) if not _stays(size, i, shape)]
    if not _store(model, node, [sizes[i] for i in axes]):
        return False
    node.attribute.append(helper.make_attribute("axes", axes))
    return True


def _stays(size: Size, axis: int, shape: Sizes | None) -> bool:
    return isinstance(size, str) and shape is not None and 0 <= axis < len(shape) and shape[axis] == size


def _store(model: onnx.ModelProto, node: onnx.NodeProto, target: Sizes) -> bool:
    """Whether every size is known, and the node reads them now."""
    if not all(isinstance(size, int) for size in target):
        return False
    name = f"{node.output[0]}/target"
    model.graph.initializer.append(numpy_helper.from_array(np.array(target, np.int64), name))
    node.input[_PLACES[node.op_type]] = name
    return True


_TARGETS = {"Expand": _expand, "Reshape": _reshape, "Resize": _resize}
_PLACES = {"Expand": 1, "Reshape": 1, "Resize": 3}
