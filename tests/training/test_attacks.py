"""The attack of ACET on networks whose most confident point is known."""

import pytest
import torch
from torch import nn

from goodcert.training.attacks import most_confident


def linear(*weights: float) -> nn.Sequential:
    """Two classes; the logit of the second is 0."""
    layer = nn.Linear(len(weights), 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights, [0.0] * len(weights)]))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def images(*pixels: float) -> torch.Tensor:
    return torch.tensor([pixels]).reshape(1, 1, 1, -1)


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_a_linear_network_is_most_confident_in_a_corner_of_the_ball(steps: int) -> None:
    found = most_confident(linear(2.0, -1.0), images(0.6, 0.4), 0.25, steps, clip=True)
    reach = min(0.25, 2 * 0.25 * steps / (steps + 1))
    torch.testing.assert_close(found.flatten(), torch.tensor([0.6 + reach, 0.4 - reach]))


def test_points_stay_in_the_pixel_range_where_that_is_wanted() -> None:
    clipped, free = (most_confident(linear(2.0, -1.0), images(0.9, 0.1), 0.3, 7, clip=c) for c in (True, False))
    torch.testing.assert_close(clipped.flatten(), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(free.flatten(), torch.tensor([1.2, -0.2]))


def test_the_least_confident_class_is_left_for_the_other() -> None:
    found = most_confident(linear(-3.0), images(0.5), 0.2, 7, clip=True)  # class 1 leads, and more so upward
    assert found.item() == pytest.approx(0.7)


def test_no_point_is_worse_than_the_start() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 3))
    start = torch.rand(50, 1, 4, 4)
    found = most_confident(net, start, 0.2, 3, clip=True)
    before, after = (net(x).softmax(dim=1).amax(dim=1) for x in (start, found))
    assert (after >= before).all()
    assert after.mean() > before.mean() + 0.02
    assert ((found - start).abs() <= 0.2 + 1e-6).all()


def test_a_ball_of_radius_0_is_its_image_and_no_gradient_is_left_behind() -> None:
    net, start = linear(1.0), images(0.5)
    assert most_confident(net, start, 0.0, 7, clip=True) is start
    assert not most_confident(net, start, 0.1, 7, clip=True).requires_grad
    assert all(p.grad is None for p in net.parameters())
