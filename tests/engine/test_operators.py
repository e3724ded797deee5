"""Classifiers made of the newer operators are exported, run beside their prediction, and certified."""

from typing import Any

import numpy as np
import pytest

from goodcert import engine
from graphs import Operation, onnx_model

LAYERS: list[tuple[str, int, dict[str, Any], int]] = [
    ("AveragePool", 19, {"kernel_shape": [2, 2], "ceil_mode": 1, "strides": [3, 3]}, 8),
    ("Elu", 17, {}, 32),
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
