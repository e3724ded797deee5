"""The joint posterior by hand."""

import math

import pytest
import torch
from torch import nn

from goodcert.nets.joint import Joint, log_posterior
from joints import confidence_bound


def test_the_posterior_mixes_the_classifier_and_the_uniform_distribution() -> None:
    # softmax 3/4, 1/4 and p(in | x) = 4/5: 4/5 * 3/4 + 1/5 * 1/2 = 7/10
    logits, log_odds = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[math.log(4)]])
    torch.testing.assert_close(log_posterior(logits, log_odds).exp(), torch.tensor([[0.7, 0.3]]))


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1000.0])
def test_the_posterior_sums_to_1_however_sure_both_parts_are(scale: float) -> None:
    torch.manual_seed(0)
    log_p = log_posterior(torch.randn(50, 7) * scale, torch.randn(50, 1) * scale)
    assert log_p.isfinite().all()
    torch.testing.assert_close(log_p.exp().sum(dim=1), torch.ones(50), rtol=1e-3, atol=0)


def test_the_classifier_decides_the_class_and_the_discriminator_alone_bounds_the_confidence() -> None:
    torch.manual_seed(0)
    logits, log_odds = torch.randn(200, 5) * 9, torch.randn(200, 1) * 2
    p = log_posterior(logits, log_odds).exp()
    assert torch.equal(p.argmax(dim=1), logits.argmax(dim=1))
    assert (p.amax(dim=1) <= confidence_bound(log_odds, 5)[:, 0] + 1e-6).all()


def test_the_bound_is_the_share_inside_plus_the_uniform_rest() -> None:
    # p(in | x) = 4/5 of 10 classes: 4/5 + 1/5 / 10
    assert confidence_bound(torch.tensor([[math.log(4)]]), 10).item() == pytest.approx(0.82)


def test_joint_is_the_posterior_of_its_two_parts() -> None:
    net = Joint(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), nn.Sequential(nn.Flatten(), nn.Linear(4, 1)))
    images = torch.rand(2, 1, 2, 2)
    assert torch.equal(net(images), log_posterior(net.classifier(images), net.discriminator(images)))
