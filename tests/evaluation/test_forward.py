"""The function that gradients climb is the model, for common layers and for others."""

import numpy as np
import pytest
import torch

from goodcert.bounds.reader import read_graph
from goodcert.evaluation.forward import forward
from graphs import classifier, onnx_model, run_onnx

IMAGES = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)

WEIGHT = np.random.default_rng(1).standard_normal((16, 3)).astype(np.float32)
OTHER = onnx_model(
    [("AveragePool", ["x"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}), ("Sigmoid", ["p"], "s", {}),
     ("Flatten", ["s"], "f", {}), ("MatMul", ["f", "w"], "y", {})],
    {"w": WEIGHT}, ["N", 1, 8, 8],
)  # fmt: skip

CENTRES = np.random.default_rng(2).random((1, 3, 64), dtype=np.float32)
MIXTURE = onnx_model(
    [("Flatten", ["x"], "f", {}), ("Unsqueeze", ["f", "one"], "u", {}), ("Sub", ["centres", "u"], "d", {}),
     ("ReduceSumSquare", ["d"], "s", {"axes": [2], "keepdims": 0}), ("Mul", ["s", "scale"], "y", {})],
    {"one": np.array([1]), "centres": CENTRES, "scale": np.array([-0.5], np.float32)}, ["N", 1, 8, 8],
)  # fmt: skip
MODELS = pytest.mark.parametrize(
    "model", [classifier(), OTHER, MIXTURE], ids=["common layers", "other operators", "a mixture"]
)


@MODELS
def test_it_computes_what_onnx_runtime_computes(model: object) -> None:
    logits = forward(read_graph(model))(torch.from_numpy(IMAGES))
    np.testing.assert_allclose(logits, run_onnx(model, IMAGES)[0], rtol=1e-4, atol=1e-5)


@MODELS
def test_its_gradient_is_that_of_small_differences(model: object) -> None:
    function, x = forward(read_graph(model)), torch.from_numpy(IMAGES[:1]).requires_grad_()
    (gradient,) = torch.autograd.grad(function(x)[0, 0], x)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        rise = (function(x + step) - function(x - step))[0, 0] / 2
    assert float(rise) == pytest.approx(float(1e-2 * gradient.norm()), rel=0.05)
