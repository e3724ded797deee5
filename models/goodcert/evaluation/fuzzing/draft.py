"""A random ONNX graph in the making: nodes, constants and the shapes of what varies."""

from collections.abc import Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import NodeProto, TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference

T = TypeVar("T")

IMAGE = "x"
LARGEST = 600
"""The most numbers that an image may become."""


class NoFit(Exception):
    """The operator has no meaning for what is there; another one is tried."""


class Draft:
    """Grows node by node; ONNX's own shape inference says what fits.

    random: makes every choice. opset: the version of the standard operators. shapes: of every value that varies,
    without the batch. hints: images (C, H, W) that are known to trigger something.
    """

    def __init__(self, random: np.random.Generator, opset: int, shape: tuple[int, ...]) -> None:
        self.random, self.opset = random, opset
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {IMAGE: shape}
        self.hints: list[NDArray[np.float32]] = []
        self._types = {IMAGE: _type(TensorProto.FLOAT, ("N", *shape))}
        self._data: dict[str, TensorProto] = {}
        self._names = 0

    # --- choices ----------------------------------------------------------------------------------------

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random.integers(len(options)))]

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def real(self, low: float, high: float) -> float:
        """A float32 number between both, evenly distributed."""
        return float(np.float32(self.random.uniform(low, high)))

    # --- what the opset knows ---------------------------------------------------------------------------

    def knows(self, operator: str, attribute: str = "") -> bool:
        """Whether the opset has the operator, and with the attribute if one is given."""
        schema = _schema(operator, self.opset)
        return schema is not None and (not attribute or attribute in schema.attributes)

    # --- growing ----------------------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def constant(self, values: ArrayLike, dtype: Any = np.float32) -> str:
        """The name of a constant: an initializer, or now and then a node."""
        name = self.fresh("c")
        tensor = numpy_helper.from_array(np.ascontiguousarray(values, dtype).reshape(np.shape(values)), name)
        self._types[name], self._data[name] = _type(tensor.data_type, tensor.dims), tensor
        if self.chance(0.15) and (dtype == np.float32 or self.opset >= 9):  # before, it held floats alone
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"node of {name}", value=tensor))
        else:
            self.initializers.append(tensor)
        return name

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64), np.int64)

    def listed(
        self, operator: str, inputs: list[str], name: str, values: Sequence[int]
    ) -> tuple[list[str], dict[str, Any]]:
        """(inputs, attributes) with whole numbers where the opset wants them: an attribute, or the next input."""
        if self.knows(operator, name):
            return inputs, {name: list(values)}
        return [*inputs, self.integers(values)], {}

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """The name of the one output of a new node."""
        return self.parts(operator, inputs, 1, **attributes)[0]

    def parts(self, operator: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        """The names of all outputs of a new node. Raises NoFit where ONNX finds no shape for it."""
        names = [self.fresh("v") for _ in range(count)]
        given = {key: value for key, value in attributes.items() if value is not None}
        node = helper.make_node(operator, list(inputs), names, name=f"{operator} {names[0]}", **given)
        types = self._infer(node)
        shapes = [self._shape_of(types.get(name)) for name in names]
        self.nodes.append(node)
        for name, shape in zip(names, shapes, strict=True):
            self._types[name], self.shapes[name] = _type(TensorProto.FLOAT, ("N", *shape)), shape
        return names

    def fixed(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node of constants alone, or of shapes: it makes a constant, whose value nobody looks at."""
        name = self.fresh("k")
        node = helper.make_node(operator, list(inputs), [name], name=f"{operator} {name}", **attributes)
        self._types[name] = self._infer(node)[name]
        self.nodes.append(node)
        return name

    def shaped(self, operator: str, inputs: Sequence[str], shape: tuple[int, ...], **attributes: Any) -> str:
        """A node whose shape ONNX cannot tell by itself, as it depends on a value."""
        if not self.knows(operator):
            raise NoFit(f"{operator} at opset {self.opset}")
        name = self.fresh("v")
        self.nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"{operator} {name}", **attributes)
        )
        self._types[name], self.shapes[name] = _type(TensorProto.FLOAT, ("N", *shape)), shape
        return name

    def _infer(self, node: NodeProto) -> dict[str, TypeProto]:
        schema = _schema(node.op_type, self.opset)
        if schema is None or {a.name for a in node.attribute} - set(schema.attributes):
            raise NoFit(f"{node.op_type} at opset {self.opset}")
        types = {name: self._types[name] for name in node.input if name}
        data = {name: self._data[name] for name in node.input if name in self._data}
        imports = [helper.make_opsetid("", self.opset)]
        try:
            return dict(shape_inference.infer_node_outputs(schema, node, types, data, opset_imports=imports))
        except (onnx.checker.ValidationError, shape_inference.InferenceError, RuntimeError) as error:
            raise NoFit(str(error)) from error

    def _shape_of(self, kind: TypeProto | None) -> tuple[int, ...]:
        axes = list(kind.tensor_type.shape.dim) if kind else []
        shape = tuple(axis.dim_value for axis in axes[1:])
        known = axes and not axes[0].HasField("dim_value") and all(a.HasField("dim_value") for a in axes[1:])
        if not known or min(shape, default=1) < 1 or prod(shape) > LARGEST or len(shape) > 5:
            raise NoFit(f"shape {shape}")
        return shape


def _schema(operator: str, opset: int) -> defs.OpSchema | None:
    try:
        schema = defs.get_schema(operator, opset, "")
    except defs.SchemaError:
        return None
    return None if schema.deprecated else schema


def _type(kind: int, shape: Sequence[int | str]) -> TypeProto:
    return helper.make_tensor_type_proto(kind, list(shape))
