"""ONNX Runtime runs the graph that was bounded: it multiplies no weights together and fuses no kernels."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from goodcert.engine.runtime import KERNEL_FUSIONS, REROUNDING_FUSIONS
from graphs import Operation, onnx_model

random = np.random.default_rng(0)


def weights(*shape: int) -> Any:
    return random.standard_normal(shape).astype(np.float32)


NORM = {"g": weights(4), "b": weights(4), "m": weights(4), "v": abs(weights(4)) + np.float32(1)}
SQUARE = {"w": weights(5, 4), "k": weights(4), "row": weights(1, 4), "scale": np.float32(3.3)}
FILTER = {"w": weights(4, 2, 3, 3), "k": weights(1, 4, 1, 1)}
NORMED = ("BatchNormalization", ["a", *NORM], "y", {})

# fusion, operations, constants, shape of the input
PATTERNS: list[tuple[str, list[Operation], dict[str, Any], list[int | str]]] = [
    ("MatMul_BatchNormalization_Fusion", [("MatMul", ["x", "w"], "a", {}), NORMED], SQUARE | NORM, ["N", 5]),
    ("MatMulAddFusion", [("MatMul", ["x", "w"], "a", {}), ("Add", ["a", "k"], "y", {})], SQUARE, ["N", 5]),
    ("MatMulScaleFusion", [("MatMul", ["x", "w"], "a", {}), ("Mul", ["a", "scale"], "y", {})], SQUARE, ["N", 5]),
    ("GemmSumFusion", [("Gemm", ["x", "w"], "a", {}), ("Sum", ["a", "row"], "y", {})], SQUARE, ["N", 5]),
    ("ConvBNFusion", [("Conv", ["x", "w"], "a", {}), NORMED], FILTER | NORM, ["N", 2, 6, 6]),
    ("ConvMulFusion", [("Conv", ["x", "w"], "a", {}), ("Mul", ["a", "k"], "y", {})], FILTER, ["N", 2, 6, 6]),
    ("ConvAddFusion", [("Conv", ["x", "w"], "a", {}), ("Add", ["a", "k"], "y", {})], FILTER, ["N", 2, 6, 6]),
]


def operators(model: onnx.ModelProto, disabled: tuple[str, ...], folder: Any) -> list[str]:
    """What ONNX Runtime runs, but for the layout of its convolutions."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    names = ("CPUExecutionProvider",)
    onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=list(names),
        disabled_optimizers=[*disabled, "NchwcTransformer"],
    )
    return [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]


@pytest.mark.parametrize(("fusion", "operations", "constants", "shape"), PATTERNS)
def test_a_fusion_that_rounds_weights_anew_is_disabled(
    fusion: str, operations: list[Operation], constants: dict[str, Any], shape: Any, tmp_path: Any
) -> None:
    """A name that ONNX Runtime does not know would be ignored without a word."""
    read = {name: value for name, value in constants.items() if any(name in op[1] for op in operations)}
    written = [op for op, *_ in operations]
    assert operators(onnx_model(operations, read, shape), (), tmp_path) != written
    assert fusion in REROUNDING_FUSIONS
    assert operators(onnx_model(operations, read, shape), (fusion,), tmp_path) == written
    assert (
        operators(onnx_model(operations, read, shape), (*REROUNDING_FUSIONS, *KERNEL_FUSIONS), tmp_path) == written
    )


def test_every_fusion_that_rounds_weights_anew_is_tried() -> None:
    assert {fusion for fusion, *_ in PATTERNS} == set(REROUNDING_FUSIONS)


NUMBERS = {
    "half": np.float32(0.5), "one": np.float32(1), "two": np.float32(2), "root": np.float32(2**0.5),
    "slope": np.float32(1.702), "eps": np.float32(1e-5), "g": weights(8), "k": weights(8),
}  # fmt: skip
LAST: dict[str, Any] = {"axes": [-1]}
GELU: list[Operation] = [
    ("Div", ["x", "root"], "a", {}), ("Erf", ["a"], "b", {}), ("Add", ["b", "one"], "c", {}),
    ("Mul", ["x", "c"], "d", {}), ("Mul", ["d", "half"], "y", {}),
]  # fmt: skip
QUICK_GELU: list[Operation] = [
    ("Mul", ["x", "slope"], "a", {}), ("Sigmoid", ["a"], "b", {}), ("Mul", ["x", "b"], "y", {}),
]  # fmt: skip
LAYER_NORM: list[Operation] = [
    ("ReduceMean", ["x"], "m", LAST), ("Sub", ["x", "m"], "d", {}), ("Pow", ["d", "two"], "p", {}),
    ("ReduceMean", ["p"], "v", LAST), ("Add", ["v", "eps"], "w", {}), ("Sqrt", ["w"], "s", {}),
    ("Div", ["d", "s"], "n", {}), ("Mul", ["n", "g"], "o", {}), ("Add", ["o", "k"], "y", {}),
]  # fmt: skip


@pytest.mark.parametrize("operations", [GELU, QUICK_GELU, LAYER_NORM], ids=["gelu", "quick gelu", "layer norm"])
def test_what_was_bounded_operator_by_operator_is_run_so(operations: list[Operation], tmp_path: Any) -> None:
    read = {name: value for name, value in NUMBERS.items() if any(name in op[1] for op in operations)}
    written = [op for op, *_ in operations]
    assert len(operators(onnx_model(operations, read, ["N", 8]), (), tmp_path)) == 1
    assert operators(onnx_model(operations, read, ["N", 8]), KERNEL_FUSIONS, tmp_path) == written
