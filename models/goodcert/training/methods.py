"""The methods: what each makes of one batch, and the network that it trains.

A method is two functions. Everything that differs within one (Q, attack steps, ...) is in the recipe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodcert.bounds.classifier import split, training_margins
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT
from goodcert.bounds.sequential import graph_of
from goodcert.nets import build
from goodcert.nets.joint import Joint
from goodcert.nets.mixture import LogOdds, Mixture, fitted
from goodcert.training import losses
from goodcert.training.attacks import most_confident
from goodcert.training.datasets import Datasets
from goodcert.training.recipes import Recipe

FITTED_ON = 10_000
"""Images of each distribution that the mixtures of CCU start from."""


class Batch(NamedTuple):
    """inside, outside: images (N, C, H, W) in [0, 1]; labels: (N,) of the first. near: outliers (M, C, H, W) so
    near to the first that no ball around them is asked for, often none."""

    inside: Tensor
    labels: Tensor
    outside: Tensor
    near: Tensor

    @property
    def outliers(self) -> Tensor:
        """Both kinds, for losses at points."""
        return torch.cat([self.outside, self.near])


class Terms(NamedTuple):
    """outputs: what the network gives for the in-distribution (N, K or 1). inside, outside: losses (N,)."""

    outputs: Tensor
    inside: Tensor
    outside: Tensor


@dataclass(frozen=True)
class Method:
    """terms: the losses of a batch at a radius. network: what is trained, with random weights. fit: what is done
    to it before the first step, for methods that start from the data."""

    terms: Callable[[nn.Module, Batch, float, Recipe], Terms]
    network: Callable[[Recipe], nn.Module]
    fit: Callable[[nn.Module, Recipe, Datasets], None] | None = None


# --- networks -----------------------------------------------------------------------------------------


def classifier(recipe: Recipe) -> nn.Module:
    """One logit a class."""
    return build(recipe.net, recipe.input_shape, len(recipe.labels))


def discriminator(recipe: Recipe) -> nn.Module:
    """One number: the log-odds of the in-distribution."""
    return build(recipe.net, recipe.input_shape, 1)


def with_mixtures(recipe: Recipe) -> nn.Module:
    """A classifier joined with two mixtures of Gaussians."""
    made, size, pixels = classifier(recipe), recipe.components, prod(recipe.input_shape)
    inside, outside = (Mixture(torch.rand(size, pixels), torch.zeros(size), torch.zeros(size)) for _ in range(2))
    return Joint(made, LogOdds(inside, outside))


def fit_mixtures(net: nn.Module, recipe: Recipe, data: Datasets) -> None:
    """Put the mixtures where some images of both distributions are."""
    inside, outside = (images[:FITTED_ON].float() / 255 for images in (data.inside, data.outside))
    top, left = ((extent - recipe.size) // 2 for extent in outside.shape[2:])
    outside = outside[:, :, top : top + recipe.size, left : left + recipe.size]
    odds = _mixtures(net)
    for mixture, images in ((odds.inside, inside), (odds.outside, outside)):
        mixture.load_state_dict(fitted(images, recipe.components, recipe.seed).state_dict())


def _mixtures(net: nn.Module) -> LogOdds:
    if not isinstance(net, Joint) or not isinstance(net.discriminator, LogOdds):
        raise TypeError(f"got {type(net).__name__}, expected a Joint of a classifier and mixtures")
    return net.discriminator


# --- terms --------------------------------------------------------------------------------------------


def plain(net: nn.Module, batch: Batch, _epsilon: float, _recipe: Recipe) -> Terms:
    """Cross entropy on the in-distribution; outliers do not count."""
    logits = net(batch.inside).float()
    return Terms(logits, _cross_entropy(logits, batch), logits.new_zeros(1))


def ceda(net: nn.Module, batch: Batch, _epsilon: float, _recipe: Recipe) -> Terms:
    logits = net(batch.inside).float()
    return Terms(logits, _cross_entropy(logits, batch), losses.log_confidence(net(batch.outliers).float()))


def outlier_exposure(net: nn.Module, batch: Batch, _epsilon: float, _recipe: Recipe) -> Terms:
    logits = net(batch.inside).float()
    return Terms(logits, _cross_entropy(logits, batch), losses.entropy_to_uniform(net(batch.outliers).float()))


def acet(net: nn.Module, batch: Batch, epsilon: float, recipe: Recipe) -> Terms:
    """Outlier Exposure at the most confident points that an attack finds around the outliers."""
    attacked = most_confident(net, batch.outside, epsilon, recipe.attack_steps, recipe.clip_ball)
    return outlier_exposure(net, batch._replace(outside=attacked), epsilon, recipe)


def ccu(net: nn.Module, batch: Batch, _epsilon: float, _recipe: Recipe) -> Terms:
    """Outlier Exposure of the joint posterior, and the likelihood of both mixtures."""
    odds = _mixtures(net)
    log_p = net(batch.inside)
    inside = _cross_entropy(log_p, batch) + _evidence(odds, batch.inside)
    outside = losses.entropy_to_uniform(net(batch.outliers)) + _evidence(odds, batch.outliers)
    return Terms(log_p, inside, outside)


def _evidence(odds: LogOdds, images: Tensor) -> Tensor:
    return losses.evidence(odds.inside(images)[:, 0], odds.outside(images)[:, 0])


def good(net: nn.Module, batch: Batch, epsilon: float, recipe: Recipe) -> Terms:
    """GOOD_Q, Q = 100 recipe.quantile: the bound over the ball for the easiest, the point for the rest."""
    logits = net(batch.inside).float()
    outside = torch.cat([_good_outside(net, batch.outside, epsilon, recipe), _good_at_points(net, batch.near)])
    inside = _cross_entropy(logits, batch)
    if recipe.silence:
        inside = inside + recipe.silence * _silence(net, batch)
    return Terms(logits, inside, outside)


def _silence(net: nn.Module, batch: Batch) -> Tensor:
    """(N,) summed over the hidden layers that see the whole image."""
    values, outliers, silence = batch.inside, batch.outside, batch.inside.new_zeros(len(batch.inside))
    for layer in _layers(net):
        if isinstance(layer, nn.ReLU) and values.dim() == 2:
            silence = silence + losses.silence(values.float(), outliers.float())
        values, outliers = layer(values), layer(outliers)
    return silence


def _good_outside(net: nn.Module, outside: Tensor, epsilon: float, recipe: Recipe) -> Tensor:
    if recipe.quantile == 0:
        return _good_at_points(net, outside)
    margins = ball_margins(net, outside, epsilon, clip=recipe.clip_ball)
    if recipe.quantile == 1:
        return losses.good(margins)
    return losses.good_quantile(margins, net(outside).float(), recipe.quantile)


def _good_at_points(net: nn.Module, outliers: Tensor) -> Tensor:
    return losses.good_at_point(net(outliers).float())


def prood(net: nn.Module, batch: Batch, epsilon: float, recipe: Recipe) -> Terms:
    """The discriminator's log-odds at the in-distribution, their upper bound over balls around outliers."""
    odds = net(batch.inside).float()
    upper = ball_outputs(net, batch.outside, epsilon, clip=recipe.clip_ball).upper
    outside = torch.cat([upper.float(), net(batch.near).float()])
    return Terms(odds, losses.binary_inside(odds[:, 0]), losses.binary_outside(outside[:, 0]))


def _cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    return F.cross_entropy(logits, batch.labels, reduction="none")


# --- bounds -------------------------------------------------------------------------------------------


def ball_margins(net: nn.Module, images: Tensor, epsilon: float, *, clip: bool = True) -> Tensor:
    """(N, K, K) bounds on all logit differences over the balls around `images` (N, C, H, W); differentiable,
    without rounding margins. clip: to [0, 1], as the certified balls are."""
    body, weight, bias = split(graph_of(_layers(net), _shape(images)))
    return training_margins(prepare(body, EXACT), weight, bias, _ball(images, epsilon, clip), EXACT)


def ball_outputs(net: nn.Module, images: Tensor, epsilon: float, *, clip: bool = True) -> Interval:
    """The outputs (N, K) over the same balls."""
    (outputs,) = prepare(graph_of(_layers(net), _shape(images)), EXACT)(_ball(images, epsilon, clip))
    return outputs


def _ball(images: Tensor, epsilon: float, clip: bool) -> Interval:
    lower, upper = images - epsilon, images + epsilon
    return Interval(lower.clamp(min=0), upper.clamp(max=1)) if clip else Interval(lower, upper)


def _layers(net: nn.Module) -> nn.Sequential:
    if not isinstance(net, nn.Sequential):
        raise TypeError(f"got {type(net).__name__}, expected nn.Sequential, whose layers have bounds")
    return net


def _shape(images: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


# --- by name ------------------------------------------------------------------------------------------

QUANTILES = (0, 20, 40, 60, 80, 90, 95, 100)
"""The Q of the paper's GOOD_Q."""

METHODS: Mapping[str, Method] = {
    "Plain": Method(plain, classifier),
    "CEDA": Method(ceda, classifier),
    "OE": Method(outlier_exposure, classifier),
    "ACET": Method(acet, classifier),
    "CCU": Method(ccu, with_mixtures, fit_mixtures),
    "ProoD": Method(prood, discriminator),
    **{f"GOOD_{q}": Method(good, classifier) for q in QUANTILES},
}
"""By the names in the paper's tables, which recipes use."""
