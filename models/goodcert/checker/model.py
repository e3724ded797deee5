"""From a model file to a chain of affine layers: whatever is not understood is refused, in one sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

_DOMAIN = ("", "ai.onnx")
_OF_THE_INPUT = {"color", "height", "width"}
_OF_NO_CONCERN = {"labels", "epsilon", "threshold", "method", "resize", "recipe", "results", "format_version"}
_WINDOW = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
# The attributes and the values that are understood, first the one that is meant where it is absent; () is any.
_ATTRIBUTES: dict[str, dict[str, tuple[Any, ...]]] = {
    "Conv": {"auto_pad": (b"NOTSET",), "group": (1,), **dict.fromkeys(("kernel_shape", *_WINDOW), ())},
    "Gemm": {"alpha": (1.0,), "beta": (1.0,), "transA": (0,), "transB": (0, 1)}, "Constant": {"value": ()},
    "Flatten": {"axis": (1,)}, "Reshape": {"allowzero": (0,)}, "Softmax": {"axis": (-1, 1)},
}  # fmt: skip


class NotCheckable(Exception):
    """Something that this checker does not know; the message says what, in one sentence."""


class Footprint(NamedTuple):
    """Which values a convolution sees at once, (height, width) each; pads: top, left, bottom, right."""

    kernel: Sequence[int]
    strides: Sequence[int]
    dilations: Sequence[int]
    pads: Sequence[int]


@dataclass(frozen=True)
class AffineLayer:
    """W x + b of the F values under a footprint or, without one, of all values in order; then max(., 0) if `relu`.

    weight (O, F) and bias (O,): float32, finite. operator: what the layer was in the file.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    operator: str
    footprint: Footprint | None = None
    relu: bool = False


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        known = "ibp bounds of plain chains (Conv, dense layers, Relu), for images of bytes and of their size"
        raise NotCheckable(f"{otherwise}; the exact checker knows only {known}")


def read_chain(data: bytes) -> tuple[Sequence[int], list[AffineLayer]]:
    """The shape of an input, (C, H, W), C 1 (grey) or 3 (red, green, blue), and the layers, of which the last one
    gives the logits. Raises NotCheckable.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # of protobuf, which has several
        raise NotCheckable("the model file is not ONNX") from error
    opsets, graph = [entry.version for entry in model.opset_import if entry.domain in _DOMAIN], model.graph
    require(len(opsets) == 1 and opsets[0] >= 7, f"the file imports the versions {opsets} of the operators")
    require(not model.functions and not graph.sparse_initializer, "the file has functions or sparse weights")
    require(all(node.domain in _DOMAIN for node in graph.node), "the file has operators of another domain")
    require(len(graph.input) == len(graph.output) == 1, "the graph has not one input and one output")
    shape, layers = _input_shape(model), _chain(graph)
    require(bool(layers) and not layers[-1].relu and not layers[-1].footprint, "the last layer is not a dense one")
    return shape, layers


def _input_shape(model: onnx.ModelProto) -> Sequence[int]:
    """As metadata and graph have it, where nothing else is said that might concern the pixels."""
    told = [(entry.key[9:], entry.value) for entry in model.metadata_props if entry.key.startswith("goodcert.")]
    facts, tensor = dict(told), model.graph.input[0].type.tensor_type
    require("head" not in facts, "this is a joint model")
    require(facts.keys() <= _OF_THE_INPUT | _OF_NO_CONCERN, f"the file says {sorted(facts)} of itself")
    require(len(told) == len(facts) and facts.keys() >= _OF_THE_INPUT, "the file does not say what it takes")
    shape = [entry.dim_value for entry in tensor.shape.dim][1:]
    expected = [{"grey": "1", "rgb": "3"}.get(facts["color"]), facts["height"], facts["width"]]
    same = tensor.elem_type == TensorProto.FLOAT and [str(size) for size in shape] == expected
    require(same, f"the input is {shape} and not {expected} in float32")
    return shape


def _chain(graph: onnx.GraphProto) -> list[AffineLayer]:
    """Follows one value from node to node; every other input must be stored in the file."""
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    constants = [node for node in graph.node if node.op_type == "Constant"]
    tensors = [(tensor.name, tensor) for tensor in graph.initializer]
    tensors += [(name, _attributes(node)["value"]) for node in constants for name in node.output]
    value, end = graph.input[0].name, graph.output[0].name
    names = [value, *(name for name, _ in tensors), *(name for node in nodes for name in node.output)]
    require(len(names) == len(set(names)) and "" not in names, "a name in the file has two meanings or none")
    stored, layers, flat = {name: _array(tensor) for name, tensor in tensors}, list[AffineLayer](), False
    for node in nodes:
        others = [name for name in node.input if name and name != value]
        alone = list(node.input).count(value) == len(node.output) == 1 and stored.keys() >= set(others)
        first = alone and (node.input[0] == value or node.op_type == "Add") and value != end
        require(first, f"{_name(node)} does not follow the one before it alone")
        require(node.op_type != "Softmax" or node.output[0] == end, "a Softmax is not the end")
        layers = _extended(layers, flat, node, [stored[name] for name in others])
        flat, value = flat or node.op_type in ("Flatten", "Reshape"), node.output[0]
    require(value == end, "the output of the graph is not that of the last node")
    return layers


def _extended(layers: list[AffineLayer], flat: bool, node: NodeProto, constants: list[Any]) -> list[AffineLayer]:
    """By one node more. flat: whether each image is one row."""
    given, last = _attributes(node), layers[-1] if layers else None
    match node.op_type, constants:
        case "Conv", [weight, *bias] if not flat:
            return [*layers, _layer(node, weight, bias, _footprint(node, weight, given))]
        case "Gemm" | "MatMul", [weight, *bias] if flat and weight.ndim == 2:
            return [*layers, _layer(node, weight if given.get("transB") else weight.T, bias)]
        case "Add", [bias] if last and last.operator == "MatMul" and not last.relu:
            return [*layers[:-1], _layer(node, last.weight, [bias])]
        case "Relu", [] if last:
            return [*layers[:-1], replace(last, relu=True)]
        case "Reshape", [rows] if not flat and rows.shape == (2,) and rows[0] in (0, -1) and rows[1] != 0:
            return layers
        case (("Flatten" | "Softmax"), []) if flat or node.op_type == "Flatten":
            return layers
    raise NotCheckable(f"{_name(node)} is not among what the exact checker knows, or is not where it may be")


def _layer(node: NodeProto, weight: Any, bias: list[Any], sees: Footprint | None = None) -> AffineLayer:
    offsets = bias[0] if bias else np.zeros(len(weight), np.float32)
    plain = all(one.dtype == np.float32 and np.isfinite(one).all() and one.size for one in (weight, offsets))
    fits = plain and offsets.shape == weight.shape[:1] and len(bias) < 2
    require(fits, f"{_name(node)} has weights that are not finite or not float32, or a bias of another size")
    return AffineLayer(weight.reshape(len(weight), -1), offsets, node.op_type, sees)


def _footprint(node: NodeProto, weight: NDArray[Any], given: dict[str, Any]) -> Footprint:
    sees = Footprint(weight.shape[2:], *(given[name] or sizes for name, sizes in _WINDOW.items()))
    plain = [len(sizes) for sizes in sees] == [2, 2, 2, 4] and min(map(min, sees[:3])) > 0 and min(sees.pads) >= 0
    same = list(given["kernel_shape"] or sees.kernel) == list(sees.kernel)
    require(plain and same, f"{_name(node)} has {given}")
    return sees


def _attributes(node: NodeProto) -> dict[str, Any]:
    known = _ATTRIBUTES.get(node.op_type, {})
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    plain = all(name in known and (not known[name] or value in known[name]) for name, value in given.items())
    require(plain and len(given) == len(node.attribute), f"{_name(node)} has {given}")
    return {name: values[0] if values else None for name, values in known.items()} | given


def _array(tensor: Any) -> NDArray[Any]:
    stored = isinstance(tensor, TensorProto) and tensor.data_location != TensorProto.EXTERNAL
    require(stored, "a constant is not a tensor that is stored in the file")
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # of NumPy, for bytes that do not fit the sizes
        raise NotCheckable(f"the tensor '{tensor.name}' cannot be read") from error


def _name(node: NodeProto) -> str:
    return f"the node {node.op_type} '{node.name}'"
