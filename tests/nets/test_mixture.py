"""Mixtures of Gaussians by hand, beside torch.distributions, and their l2 guarantee."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from goodcert.nets.mixture import LogOdds, Mixture, fitted


def single(centre: float, variance: float = 1.0) -> Mixture:
    """One Gaussian over one pixel."""
    return Mixture(torch.tensor([[centre]]), torch.tensor([variance]).log(), torch.zeros(1))


def pixels(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def test_the_log_density_of_one_gaussian_is_the_textbooks() -> None:
    # -1/2 log(2 pi 4) - (3 - 1)^2 / (2 * 4)
    assert single(1.0, 4.0)(pixels(3.0)).item() == pytest.approx(-0.5 * math.log(8 * math.pi) - 0.5)


def test_the_log_density_of_a_mixture_is_that_of_torch() -> None:
    torch.manual_seed(0)
    mixture, images = Mixture(torch.rand(4, 9), torch.randn(4), torch.randn(4)), torch.rand(3, 1, 3, 3)
    scale = (mixture.log_variance / 2).exp()[:, None].expand(4, 9)
    parts = Independent(Normal(mixture.centres, scale), 1)
    expected = MixtureSameFamily(Categorical(logits=mixture.log_weight), parts).log_prob(images.flatten(1))
    torch.testing.assert_close(mixture(images)[:, 0], expected)


def test_the_log_odds_within_a_ball_take_each_distance_at_its_worst() -> None:
    # in at 0, out at 3; around 1 within 1/2 the distances are 1/2 and 5/2: -(1/2)^2/2 + (5/2)^2/2 = 3
    odds = LogOdds(single(0.0), single(3.0))
    assert odds.upper_in_ball(pixels(1.0), 0.5).item() == pytest.approx(3.0)


def test_a_centre_within_the_ball_is_reached() -> None:
    _, upper = single(0.0).ends_in_ball(pixels(0.2), 0.5)
    assert upper.item() == pytest.approx(single(0.0)(pixels(0.0)).item())


def test_a_ball_of_radius_0_is_its_point_and_a_larger_one_bounds_more() -> None:
    torch.manual_seed(0)
    odds = LogOdds(*(Mixture(torch.rand(5, 4), torch.randn(5) - 2, torch.randn(5)) for _ in range(2)))
    images = torch.rand(20, 1, 2, 2)
    torch.testing.assert_close(odds.upper_in_ball(images, 0.0), odds(images), rtol=1e-4, atol=1e-4)
    assert (odds.upper_in_ball(images, 0.2) > odds.upper_in_ball(images, 0.1)).all()


def test_no_point_of_the_l2_ball_has_larger_odds() -> None:
    torch.manual_seed(0)
    odds = LogOdds(*(Mixture(torch.rand(5, 4), torch.randn(5) - 2, torch.randn(5)) for _ in range(2)))
    images = torch.rand(20, 1, 2, 2)
    upper = odds.upper_in_ball(images, 0.3)
    for _ in range(200):
        step = torch.randn(20, 4)
        step = 0.3 * step / step.norm(dim=1, keepdim=True) * torch.rand(20, 1)
        assert (odds(images + step.reshape(images.shape)) <= upper + 1e-4).all()


def test_fitting_finds_separate_clusters_their_spread_and_their_shares() -> None:
    torch.manual_seed(0)
    near, far = torch.randn(300, 1, 2, 2) * 0.05 + 0.2, torch.randn(100, 1, 2, 2) * 0.1 + 0.9
    mixture = fitted(torch.cat([near, far]), 2, seed=0)
    order = mixture.centres[:, 0].argsort()
    torch.testing.assert_close(mixture.centres[order, 0], torch.tensor([0.2, 0.9]), atol=0.05, rtol=0)
    torch.testing.assert_close(
        mixture.log_variance[order].exp().sqrt(), torch.tensor([0.05, 0.1]), atol=0.01, rtol=0
    )
    torch.testing.assert_close(mixture.log_weight.softmax(0)[order], torch.tensor([0.75, 0.25]))
