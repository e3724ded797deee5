"""Classifiers made of the newer operators are exported, run beside their prediction, and certified."""

from typing import Any

import numpy as np
import pytest

from goodcert import engine
from graphs import Operation, onnx_model

LAYERS: list[tuple[str, int, dict[str, Any], int]] = [
    ("AveragePool", 19, {"kernel_shape": [2, 2], "ceil_mode": 1, "strides": [3, 3]}, 8),
    ("Elu", 17, {}, 32),
    ("LRN", 17, {"size": 3, "alpha": 0.5}, 32),
    ("ReduceProd", 17, {"axes": [1]}, 16),
    ("Gelu", 20, {}, 32),
    ("Gelu", 20, {"approximate": "tanh"}, 32),
    ("GlobalMaxPool", 17, {}, 2),
    ("HardSwish", 17, {}, 32),
    ("LeakyRelu", 17, {"alpha": 0.1}, 32),
    ("LogSoftmax", 17, {"axis": 1}, 32),
    ("MaxPool", 17, {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"}, 32),
    ("Mish", 18, {}, 32),
    ("ReduceMean", 17, {"axes": [1]}, 16),
    ("Sigmoid", 17, {}, 32),
    ("Softmax", 17, {"axis": -1}, 32),
    ("Softplus", 17, {}, 32),
    ("Swish", 24, {"alpha": 1.5}, 32),
    ("Tanh", 17, {}, 32),
    ("Transpose", 17, {"perm": [0, 2, 3, 1]}, 32),
]


@pytest.mark.parametrize(("op", "opset", "attributes", "features"), LAYERS)
def test_a_classifier_with_the_operator_is_certified(
    op: str, opset: int, attributes: dict[str, Any], features: int
) -> None:
    random = np.random.default_rng(0)
    weights = {"k": random.standard_normal((2, 1, 3, 3)) * 0.4, "w": random.standard_normal((3, features)) * 0.3}
    operations: list[Operation] = [
        ("Conv", ["x", "k"], "c", {"auto_pad": "SAME_UPPER"}),
        (op, ["c"], "a", attributes),
        ("Flatten", ["a"], "f", {}),
        ("Gemm", ["f", "w"], "y", {"transB": 1}),
    ]
    constants = {name: value.astype(np.float32) for name, value in weights.items()}
    compiled = engine.compile(onnx_model(operations, constants, ["N", 1, 4, 4], opset=opset))
    images = random.random((5, 1, 4, 4), dtype=np.float32)
    narrow, wide = compiled.certify(images, 0.0), compiled.certify(images, 0.05)
    assert (narrow.confidence_upper_bound - narrow.confidence <= 1e-3).all()
    assert wide.sound().all()
    assert (wide.confidence_upper_bound < 1).all()


UPWARD: dict[str, tuple[list[Operation], dict[str, Any], int]] = {
    "ConvTranspose": (
        [("ConvTranspose", ["c", "t"], "a", {"strides": [2, 2], "pads": [0, 1, 1, 0], "auto_pad": "NOTSET"})],
        {"t": np.random.default_rng(1).standard_normal((2, 2, 3, 3), np.float32) * np.float32(0.3)}, 128,
    ),
    "Resize, linear": (
        [("Resize", ["c", "", "s"], "a", {"mode": "linear"})], {"s": np.float32([1, 1, 1.5, 2])}, 96,
    ),
    "Resize, nearest": (
        [("Resize", ["c", "", "", "z"], "a", {"mode": "nearest", "axes": [2, 3]})], {"z": np.array([3, 5])}, 30,
    ),
    "RMSNormalization": ([("RMSNormalization", ["c", "g"], "a", {})], {"g": np.float32([1, -1, 0.5, 2])}, 32),
}  # fmt: skip


@pytest.mark.parametrize("name", UPWARD)
def test_a_classifier_with_a_layer_of_constants_is_certified(name: str) -> None:
    operations, constants, features = UPWARD[name]
    random = np.random.default_rng(0)
    weights = {"k": random.standard_normal((2, 1, 3, 3)) * 0.4, "w": random.standard_normal((3, features)) * 0.2}
    around: list[Operation] = [
        ("Conv", ["x", "k"], "c", {"auto_pad": "SAME_UPPER"}),
        *operations,
        ("Flatten", ["a"], "f", {}),
        ("Gemm", ["f", "w"], "y", {"transB": 1}),
    ]
    constants = constants | {key: value.astype(np.float32) for key, value in weights.items()}
    opset = 23 if name == "RMSNormalization" else 18
    compiled = engine.compile(onnx_model(around, constants, ["N", 1, 4, 4], opset=opset))
    images = random.random((5, 1, 4, 4), dtype=np.float32)
    narrow, wide = compiled.certify(images, 0.0), compiled.certify(images, 0.02)
    assert (narrow.confidence_upper_bound - narrow.confidence <= 1e-3).all()
    assert wide.sound().all()
    assert (wide.confidence_upper_bound < 1).all()
