"""What each method makes of a batch, on networks whose outputs are known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from goodcert.nets.joint import Joint
from goodcert.nets.mixture import LogOdds, Mixture
from goodcert.training import losses
from goodcert.training.datasets import Datasets
from goodcert.training.methods import METHODS, Batch, ball_margins, ball_outputs
from goodcert.training.recipes import RECIPES, Recipe

BATCH = Batch(
    torch.tensor([0.75, 0.5]).reshape(2, 1, 1, 1),
    torch.tensor([0, 1]),
    torch.full((2, 1, 1, 1), 0.5),
    torch.empty(0, 1, 1, 1),
)


def linear(*weights: float) -> nn.Sequential:
    """One pixel; logits are the weights times it."""
    layer = nn.Linear(1, len(weights))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights)[:, None])
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


NET = linear(math.log(3), -math.log(3))
"""At 1/2 a softmax of 3/4 and 1/4: the logits differ by log 3; by log 9 times the pixel in general."""


def outside(method: str, recipe: Recipe, net: nn.Module = NET, epsilon: float = 0.25) -> list[float]:
    return METHODS[method].terms(net, BATCH, epsilon, recipe).outside.tolist()


def test_every_classifier_has_the_cross_entropy_of_its_labels_on_the_inside(recipe: Recipe) -> None:
    logits = NET(BATCH.inside)
    expected = [-logits.log_softmax(dim=1)[0, 0].item(), -math.log(1 / 4)]
    for name in ("Plain", "CEDA", "OE", "ACET", "GOOD_0", "GOOD_80", "GOOD_100"):
        terms = METHODS[name].terms(NET, BATCH, 0.1, recipe)
        assert terms.inside.tolist() == pytest.approx(expected), name
        assert torch.equal(terms.outputs, logits)


def test_plain_does_not_look_at_outliers(recipe: Recipe) -> None:
    assert outside("Plain", recipe) == [0]


def test_ceda_and_outlier_exposure_look_at_the_points(recipe: Recipe) -> None:
    assert outside("CEDA", recipe) == pytest.approx([math.log(3 / 4)] * 2)
    assert outside("OE", recipe) == pytest.approx([-(math.log(3 / 4) + math.log(1 / 4)) / 2] * 2)


def test_acet_is_outlier_exposure_where_the_attack_ends(recipe: Recipe) -> None:
    # the ball reaches up to 3/4, where the logits differ by log 9 * 3/4
    worst = losses.entropy_to_uniform(NET(torch.full((2, 1, 1, 1), 0.75))).tolist()
    assert outside("ACET", replace(recipe, attack_steps=7)) == pytest.approx(worst)
    assert outside("ACET", recipe, epsilon=0.0) == pytest.approx(outside("OE", recipe))


def test_good_bounds_the_share_of_its_quantile(recipe: Recipe) -> None:
    point = math.log1p(math.log(3) ** 2 / 2)
    ball = math.log1p((math.log(9) * 0.75) ** 2 / 2)
    for quantile, expected in ((0.0, [point, point]), (0.5, [ball, point]), (1.0, [ball, ball])):
        assert outside("GOOD_80", replace(recipe, quantile=quantile)) == pytest.approx(expected), quantile


def test_good_asks_of_the_in_distribution_that_no_dense_layer_falls_silent(recipe: Recipe) -> None:
    net = nn.Sequential(
        *linear(1.0, -2.0), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2)
    )  # fmt: skip
    with torch.no_grad():
        net[3].weight.copy_(torch.tensor([[-1.0, 0.0], [0.5, 0.0]]))
    # Into the rectifiers go (0.75, -1.5) and (-0.75, 0.375) at 0.75, (0.5, -1) and (-0.5, 0.25) at 0.5, where the
    # outliers are, for which (0.5, 0) and (0, 0.25) come out.
    asked = replace(recipe, silence=2.0)
    plain, terms = (METHODS["GOOD_100"].terms(net, BATCH, 0.1, each) for each in (recipe, asked))
    lacking = [(1 - 0.25) + (1 - 0.125), (1 - 0.0) + (1 - 0.0)]
    assert (terms.inside - plain.inside).tolist() == pytest.approx([2 * each for each in lacking])
    assert torch.equal(terms.outputs, net(BATCH.inside))


@pytest.mark.parametrize("method", ["CEDA", "OE", "GOOD_0", "GOOD_80", "GOOD_100"])
def test_near_outliers_count_at_their_points(method: str, recipe: Recipe) -> None:
    at_points = METHODS[method].terms(NET, BATCH, 0.0, recipe).outside
    batch = BATCH._replace(near=BATCH.outside[:1])
    over_balls = METHODS[method].terms(NET, batch, 0.25, recipe).outside
    assert len(over_balls) == 3
    assert over_balls[2].item() == pytest.approx(at_points[0].item())


def test_the_discriminator_sees_near_outliers_at_their_points(recipe: Recipe) -> None:
    batch = BATCH._replace(near=BATCH.outside[:1])  # log-odds 1 there, 3/2 at most around the others
    outside = METHODS["ProoD"].terms(linear(2.0), batch, 0.25, recipe).outside
    assert outside.tolist() == pytest.approx([math.log1p(math.exp(1.5))] * 2 + [math.log1p(math.exp(1))])


def test_the_ball_may_leave_the_pixel_range_in_training(recipe: Recipe) -> None:
    images = torch.full((1, 1, 1, 1), 0.9)
    assert ball_margins(NET, images, 0.3)[0, 0, 1].item() == pytest.approx(math.log(9))
    assert ball_margins(NET, images, 0.3, clip=False)[0, 0, 1].item() == pytest.approx(math.log(9) * 1.2)


def test_prood_bounds_the_log_odds_over_the_ball(recipe: Recipe) -> None:
    net = linear(2.0)  # log-odds 3/2 and 1 on the inside, at most 3/2 around the outliers
    terms = METHODS["ProoD"].terms(net, BATCH, 0.25, recipe)
    assert terms.inside.tolist() == pytest.approx([math.log1p(math.exp(-1.5)), math.log1p(math.exp(-1))])
    assert terms.outside.tolist() == pytest.approx([math.log1p(math.exp(1.5))] * 2)
    assert ball_outputs(net, BATCH.outside, 0.25).lower[:, 0].tolist() == pytest.approx([0.5, 0.5])


def test_ccu_adds_the_evidence_to_the_losses_of_the_joint_posterior(recipe: Recipe) -> None:
    inside, outside = (Mixture(torch.tensor([[c]]), torch.zeros(1), torch.zeros(1)) for c in (0.75, 0.25))
    net = Joint(NET, LogOdds(inside, outside))
    terms = METHODS["CCU"].terms(net, BATCH, 0.0, recipe)
    density = 1 / math.sqrt(2 * math.pi) * math.exp(-(0.25**2) / 2)  # of both mixtures, at 1/2
    log_p = torch.tensor([(3 / 4 + 1 / 2) / 2, (1 / 4 + 1 / 2) / 2]).log()
    assert terms.outside.tolist() == pytest.approx([-math.log(density) - log_p.mean().item()] * 2)
    assert terms.inside[1].item() == pytest.approx(-math.log(density) - log_p[1].item())


def test_the_network_of_ccu_starts_from_mixtures_of_both_distributions(recipe: Recipe, data: Datasets) -> None:
    small = replace(recipe, components=3)
    net = METHODS["CCU"].network(small)
    assert net(torch.rand(4, 1, 8, 8)).exp().sum(dim=1).tolist() == pytest.approx([1] * 4)
    assert METHODS["CCU"].fit
    METHODS["CCU"].fit(net, small, data)
    for mixture, images in ((net.discriminator.inside, data.inside), (net.discriminator.outside, data.outside)):
        mean = mixture.log_weight.softmax(dim=0) @ mixture.centres
        assert mean.mean().item() == pytest.approx((images.float() / 255).mean().item(), abs=0.02)


def test_what_has_no_bounds_is_refused_by_type(recipe: Recipe) -> None:
    with pytest.raises(TypeError, match="Linear"):
        METHODS["GOOD_100"].terms(NET[1], BATCH._replace(inside=torch.zeros(2, 1)), 0.1, recipe)
    with pytest.raises(TypeError, match="Sequential"):
        METHODS["CCU"].terms(NET, BATCH, 0.1, recipe)


def test_every_recipe_has_a_method_that_agrees_with_its_settings() -> None:
    for recipe in RECIPES.values():
        assert recipe.method in METHODS
        if recipe.method.startswith("GOOD"):
            assert recipe.method == f"GOOD_{round(100 * recipe.quantile)}"
        if recipe.method == "ProoD":
            assert RECIPES[recipe.base].method in ("Plain", "OE")
