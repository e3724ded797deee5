"""No point of a ball that gradient ascent finds is more confident than the bound says."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from goodcert import engine
from goodcert.bounds.ball import SLACK, round_down, round_up
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT
from goodcert.engine.prediction import confidence
from graphs import classifier, run_onnx

STEPS = 25


def inner_box(images: NDArray[np.uint8], epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 points that certainly lie in the real ball: its ends rounded inward."""
    real = images / 255
    lower = round_up(np.clip(real - epsilon + SLACK, 0, 1))
    upper = round_down(np.clip(real + epsilon - SLACK, 0, 1))
    return torch.from_numpy(lower), torch.from_numpy(upper)


@pytest.mark.parametrize("method", ["ibp", "crown"])
@pytest.mark.parametrize("epsilon", [0.005, 0.03, 0.3])
def test_no_attack_finds_a_confidence_above_the_bound(epsilon: float, method: engine.Method, device: str) -> None:
    random = np.random.default_rng(0)
    model = classifier(seed=6)
    images = random.integers(0, 256, (40, 1, 8, 8), dtype=np.uint8)
    images[::4] = images[::4, :, :1, :1]
    certificates = engine.compile(model, device=device, threads=1).certify(images, epsilon, method)
    program, (lower, upper) = prepare(read_graph(model), EXACT), inner_box(images, epsilon)

    x = lower + torch.from_numpy(random.random(images.shape, dtype=np.float32)) * (upper - lower)
    found = np.zeros(len(images))
    for step in range(STEPS):
        x = x.clamp(lower, upper).requires_grad_()
        found = np.maximum(found, confidence(run_onnx(model, x.detach().numpy())[0]))
        (logits,) = program(Interval(x, x))
        score = logits.lower.log_softmax(dim=1).amax(dim=1)
        (gradient,) = torch.autograd.grad(score.sum(), x)
        x = x.detach() + gradient.sign() * epsilon * (1 - step / STEPS)

    assert (found > certificates.confidence).mean() > 0.9  # the attack works
    assert (found <= certificates.confidence_upper_bound).all()
    assert (certificates.confidence_lower_bound <= found).all()
