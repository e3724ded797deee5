"""The function that gradients climb is the model, for common layers and for others."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from goodcert import zoo
from goodcert.bounds.reader import read_graph
from goodcert.evaluation.attack import log_odds
from goodcert.evaluation.differentiable import forward
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


def zeros() -> torch.Tensor:
    """Digits 0 of three shapes, and one so faint that it is taken for no digit: (4, 1, 28, 28)."""
    down, right = torch.meshgrid(torch.arange(28) - 13.5, torch.arange(28) - 13.5, indexing="ij")

    def ring(width: float, height: float) -> torch.Tensor:
        return (2 - width * (torch.hypot(right / width, down / height) - 1).abs()).clamp(0, 1)

    return torch.stack([ring(5, 8), ring(6, 9), ring(4, 8), 0.6 * ring(5, 8)])[:, None]


def test_no_gradient_is_masked_behind_the_head_of_a_joint_model() -> None:
    path = zoo.folder() / "mnist-prood/1/model.onnx"
    logits = forward(read_graph(onnx.load(path)))
    images = zeros().requires_grad_()
    found = logits(images)
    served = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (expected,) = served.run(None, {served.get_inputs()[0].name: zeros().numpy()})
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-5)
    confidence = found.softmax(dim=1).amax(dim=1)
    assert confidence[:3].min() > 0.9
    assert confidence[3] < 0.11
    (gradient,) = torch.autograd.grad(log_odds(found).sum(), images)
    assert (gradient != 0).all()
