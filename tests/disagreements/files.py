"""What a file says of itself: versions, names, attributes, shapes and types."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from disagreements.tools import ALL, CHECKER, REFERENCE, RUNTIME, Disagreement, Kind, chain, counted
from graphs import Operation, onnx_model


def _changed(model: onnx.ModelProto, change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    change(model)
    return model


def _imports(*versions: tuple[str, int]) -> onnx.ModelProto:
    model = chain([("Softmax", ["x"], "h", {"axis": 1})], {}, (2, 2), 13)
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in versions)
    return model


def _twice_imported() -> tuple[Disagreement, ...]:
    """Softmax-11 is one over all axes from the given one on, Softmax-13 over the given one."""
    orders = [(("", 13), ("ai.onnx", 11)), (("ai.onnx", 13), ("", 11)), (("", 13), ("", 11))]
    return tuple(
        Disagreement(
            f"imports {' and '.join(f'{domain!r} {version}' for domain, version in versions)}",
            "The standard domain is imported twice, in versions between which Softmax changed.",
            (RUNTIME, REFERENCE), _imports(*versions), counted(1, 2, 2) / 4,
            r"duplicate imports of the domain 'ai.onnx', in versions \[13, 11\]",
        )
        for versions in orders
    )  # fmt: skip


def _sum() -> onnx.ModelProto:
    return onnx_model([("Add", ["x", "w"], "y", {})], {"w": [1.0, 2.0]}, ["N", 2])


def _insert(*nodes: tuple[str, str, str]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for op, source, target in nodes:
            model.graph.node.insert(0, helper.make_node(op, [source], [target], name="other"))

    return change


def _default(kind: int, shape: Sequence[int]) -> Callable[[onnx.ModelProto], None]:
    return lambda model: model.graph.input.append(helper.make_tensor_value_info("w", kind, shape))


def _second_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([5, 6], np.float32), "w"))


NAMES: dict[str, tuple[str, tuple[str, ...], Callable[[onnx.ModelProto], None], str]] = {
    "weights twice": (
        "Two initializers have one name.", (CHECKER, RUNTIME, REFERENCE), _second_weight, "not unique",
    ),
    "weights that a node makes": (
        "An initializer has the name of a node's output.", (RUNTIME, REFERENCE), _insert(("Neg", "x", "w")),
        "'w' has been used as output names multiple",
    ),
    "a value made twice": (
        "Two nodes make one value.", (RUNTIME, REFERENCE), _insert(("Neg", "x", "y")),
        "'y' has been used as output names multiple",
    ),
    "an image that a node makes": (
        "A node makes what is the input.", (RUNTIME, REFERENCE), _insert(("Neg", "w", "x")),
        "'x' has been used as output names multiple",
    ),
    "a default of another shape": (
        "An initializer is listed as an input of another shape.", (RUNTIME, REFERENCE),
        _default(TensorProto.FLOAT, [3]), "of another shape or type",
    ),
    "a default of another type": (
        "An initializer is listed as an input of another type.", (RUNTIME, REFERENCE),
        _default(TensorProto.DOUBLE, [2]), "of another shape or type",
    ),
}  # fmt: skip


def _names() -> tuple[Disagreement, ...]:
    return tuple(
        Disagreement(name, does, tools, _changed(_sum(), change), counted(1, 2), reason)
        for name, (does, tools, change, reason) in NAMES.items()
    )


def _attribute(
    name: str, does: str, reason: str, op: str, opset: int, shape: Sequence[int], **attributes: Any
) -> Disagreement:
    model = chain([(op, ["x"], "h", attributes)], {}, shape, opset)
    return Disagreement(name, does, (RUNTIME, REFERENCE), model, -counted(1, *shape), rf"\({op}\).*{reason}")


def _given_twice(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.25))


def _stated(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.FLOAT, [7, 2]))


def _attributes() -> tuple[Disagreement, ...]:
    sizes: list[Operation] = [
        ("Relu", ["x"], "r", {}), ("Shape", ["r"], "s", {}), ("Cast", ["s"], "f", {"to": TensorProto.FLOAT}),
        ("ReduceSum", ["f"], "t", {"keepdims": 0}), ("Add", ["r", "t"], "h", {}),
    ]  # fmt: skip
    slopes = _changed(chain([("LeakyRelu", ["x"], "h", {"alpha": 0.5})], {}, (2,)), _given_twice)
    training = [("BatchNormalization", ["x", "a", "b", "m", "v"], "h", {"training_mode": 1})]
    norm = {name: np.array([value], np.float32) for name, value in {"a": 2, "b": 1, "m": 3, "v": 4}.items()}
    return (
        _attribute("MaxPool-8 with ceil_mode", "MaxPool has ceil_mode from opset 10 on.", "ceil_mode", "MaxPool",
                   8, (1, 5), kernel_shape=[2], strides=[2], ceil_mode=1),
        _attribute("MaxPool-8 with dilations", "MaxPool has dilations from opset 10 on.", "dilations", "MaxPool",
                   8, (1, 5), kernel_shape=[2], dilations=[2]),
        _attribute("ReduceSum-17 with axes", "ReduceSum has its axes as an input from opset 13 on.", "axes",
                   "ReduceSum", 17, (2, 2), axes=[1], keepdims=0),
        _attribute("LeakyRelu with a whole number", "The slope is INT, where FLOAT is specified.", "alpha",
                   "LeakyRelu", 17, (2,), alpha=1),
        Disagreement("an attribute twice", "LeakyRelu has two slopes.", (RUNTIME, REFERENCE), slopes,
                     -counted(1, 2), r"\(LeakyRelu\).*given twice"),
        Disagreement("a shape that is not so", "A value of one row is said to have 7, and the file computes with "
                     "its shape.", (RUNTIME, ALL), _changed(chain(sizes, {}, (2,)), _stated), counted(1, 2),
                     r"\(Relu\).*the file states \(7, 2\)"),
        _attribute("Softmax-11 of several axes", "Before opset 13 it is one over all axes from the given one on, "
                   "taken together.", "over several axes", "Softmax", 11, (2, 2), axis=1),
        Disagreement("BatchNormalization in training", "training_mode is 1, and no statistics are given back.",
                     (RUNTIME, REFERENCE), chain(training, norm, (1, 2), 15), counted(1, 1, 2),
                     r"\(BatchNormalization\).*expected inference"),
        Disagreement("Clip by NaN", "A limit is NaN.", (RUNTIME, REFERENCE),
                     chain([("Clip", ["x", "low", "high"], "h", {})], {"low": np.nan, "high": 2.0}, (2,)),
                     counted(1, 2), "'low' hold NaN"),
    )  # fmt: skip


FILES = (
    Kind("Versions", "Import every domain once (`onnx.version_converter` converts nodes).", _twice_imported()),
    Kind("Names", "Give every value a name of its own, and list no weights as inputs.", _names()),
    Kind("Attributes, shapes and types", "Export anew, by the specification of the opset that is imported.",
         _attributes()),
)  # fmt: skip
