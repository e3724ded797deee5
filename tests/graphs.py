"""Small ONNX models from a few lines, and what ONNX Runtime makes of them without rewriting anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

Operation = tuple[str, list[str], str, dict[str, Any]]


def onnx_model(
    operations: Sequence[Operation],
    constants: Mapping[str, ArrayLike],
    shape: Sequence[int | str],
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    input_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with the input `x`. operations: (operator, inputs, output, attributes); node i is named `node<i>`.
    Constants that are no arrays become float32."""
    nodes = [
        helper.make_node(op, inputs, [output], name=f"node{i}", **attributes)
        for i, (op, inputs, output, attributes) in enumerate(operations)
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", input_type, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(_array(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return _with_output_shapes(model)


def _with_output_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The checker wants the outputs to have shapes: those that are inferred, or any."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.output
    except onnx.shape_inference.InferenceError:
        inferred = model.graph.output
    for value, known in zip(model.graph.output, inferred, strict=True):
        value.CopyFrom(known)
        value.type.tensor_type.shape.SetInParent()
    return model


def run_onnx(model: onnx.ModelProto, x: ArrayLike) -> list[NDArray[np.float32]]:
    """The outputs, from the graph exactly as it is written."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    unstated = onnx.ModelProto()
    unstated.CopyFrom(model)
    for value in unstated.graph.output:
        value.type.tensor_type.ClearField("shape")
    session = onnxruntime.InferenceSession(
        unstated.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"x": np.asarray(x, np.float32)}))


def classifier(seed: int = 0, classes: int = 10, size: int = 8, channels: int = 1) -> onnx.ModelProto:
    """A convolution, a dense layer and a last layer with random weights, on (N, channels, size, size)."""
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> NDArray[np.float32]:
        scale = 1.5 / np.sqrt(np.prod(shape[1:]))
        return (random.standard_normal(shape) * scale).astype(np.float32)

    constants = {
        "w1": weights(4, channels, 3, 3), "b1": weights(4) * 0.1,
        "w2": weights(12, 4 * (size // 2) ** 2), "b2": weights(12) * 0.1,
        "w3": weights(classes, 12), "b3": weights(classes) * 0.1,
    }  # fmt: skip
    operations: list[Operation] = [
        ("Conv", ["x", "w1", "b1"], "c", {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("Relu", ["c"], "r", {}),
        ("Flatten", ["r"], "f", {}),
        ("Gemm", ["f", "w2", "b2"], "d", {"transB": 1}),
        ("Relu", ["d"], "e", {}),
        ("Gemm", ["e", "w3", "b3"], "y", {"transB": 1}),
    ]
    return onnx_model(operations, constants, ["N", channels, size, size])


def _array(value: ArrayLike) -> NDArray[Any]:
    return value if isinstance(value, np.ndarray) else np.asarray(value, np.float32)
