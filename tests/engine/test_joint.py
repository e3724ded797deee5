"""A joint model through the whole engine: compiled, attacked, bounded by its discriminator."""

import numpy as np
import pytest
import torch
from torch import nn

from goodcert import engine
from goodcert.bounds.ball import SLACK, round_down, round_up
from goodcert.bounds.joint import join
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.engine.prediction import confidence
from goodcert.nets.joint import Joint
from joints import confidence_bound

SHAPE = (1, 8, 8)


def part(outputs: int, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 16),
        nn.ReLU(),
        nn.Linear(16, outputs),
    )


@pytest.fixture
def net() -> Joint:
    net = Joint(part(10, 0), part(1, 1)).eval()
    with torch.no_grad():  # sure classifiers and discriminators, of both opinions
        net.classifier[-1].weight *= 30  # type: ignore[index, operator]
        net.discriminator[-1].weight *= 15  # type: ignore[index, operator]
        net.discriminator[-1].bias.zero_()  # type: ignore[index, operator, union-attr]
    return net


def compiled(net: Joint, device: str = "cpu") -> engine.Engine:
    graph = join(graph_of(net.classifier, SHAPE), graph_of(net.discriminator, SHAPE), 10)  # type: ignore[arg-type]
    return engine.compile(write_graph(graph), device, threads=1)


def images(count: int) -> np.ndarray:
    made = np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    made[::4] = made[::4, :, :1, :1]
    return made


def test_the_served_softmax_is_the_joint_posterior(net: Joint) -> None:
    x = (images(20) / 255).astype(np.float32)
    logits = compiled(net).logits(x)
    expected = net(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-5)


def test_at_radius_0_the_bound_is_that_of_the_discriminators_answer(net: Joint, device: str) -> None:
    certificates = compiled(net, device).certify(images(20), 0.0)
    odds = net.discriminator(torch.from_numpy((images(20) / 255).astype(np.float32))).detach()
    expected = confidence_bound(odds.double(), 10)[:, 0].numpy()
    np.testing.assert_allclose(certificates.confidence_upper_bound, expected, atol=2e-3)
    assert (certificates.confidence_upper_bound >= expected).all()
    assert (certificates.confidence_lower_bound == 0.1).all()
    assert certificates.possible().all()


@pytest.mark.parametrize("scale", [1e3, 1e6, 1e25])
def test_a_classifier_of_huge_logits_takes_nothing_from_the_guarantee_or_all_of_it(
    net: Joint, scale: float
) -> None:
    with torch.no_grad():
        net.classifier[-1].weight *= scale  # type: ignore[index, operator]
    certificates = compiled(net).certify(images(20), 0.01)
    assert certificates.sound().all()
    if scale > 1e3:  # weights beyond what admission.py takes have no guarantee
        assert (certificates.confidence_upper_bound == 1).all()
    else:
        assert (certificates.confidence_upper_bound < 0.9).any()


@pytest.mark.parametrize("epsilon", [0.005, 0.03])
def test_no_attack_finds_a_confidence_above_the_bound(net: Joint, epsilon: float, device: str) -> None:
    model = compiled(net, device)
    certificates = model.certify(images(40), epsilon)
    real = images(40) / 255
    lower = torch.from_numpy(round_up(np.clip(real - epsilon + SLACK, 0, 1)))
    upper = torch.from_numpy(round_down(np.clip(real + epsilon - SLACK, 0, 1)))
    x, found = (lower + upper) / 2, np.zeros(40)
    for step in range(25):
        x = x.clamp(lower, upper).requires_grad_()
        found = np.maximum(found, confidence(model.logits(x.detach().numpy())))
        (gradient,) = torch.autograd.grad(net(x).amax(dim=1).sum(), x)
        x = x.detach() + gradient.sign() * epsilon * (1 - step / 25)
    assert (found > certificates.confidence).mean() > 0.9  # the attack works
    assert (found <= certificates.confidence_upper_bound).all()
    assert (certificates.confidence_upper_bound < 0.9).any()
