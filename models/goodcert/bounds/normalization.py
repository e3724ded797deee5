"""Normalization by statistics of the activations themselves.

The spread of a group of n values is 1-Lipschitz: with rms(v) = sqrt(mean v^2), the standard deviation
sigma(x) = rms(x - mean x) and the root mean square itself obey |sigma(x) - sigma(mu)| <= rms(x - mu), so on a box
mu +- r they lie within rms(r) of their value at mu. And one value cannot stray far without raising the spread:
sigma^2 >= (x_i - mean)^2 / (n - 1), and rms^2 >= x_i^2 / n. So a deviation d = x_i - mean > 0 gives at most
d / sqrt(max(sigma_low^2, d^2 / (n - 1)) + eps), which grows with d; below 0 the mirror image.

**Rounding.** Write A for the largest mean |x| and Q for the largest mean x^2 in the box, g = gamma_{n + 8}.

1. The deployed mean errs by at most g A, the deployed variance by at most 8 g Q, however it is computed: as a mean
   of squared differences, as mean x^2 - mean^2 (each part errs by at most (2 g + g^2) Q, the difference by u Q
   more) or by updates (Higham, Accuracy and Stability, section 1.9: n u kappa with kappa <= sqrt(Q / variance)
   times the variance, at most n u Q). Adding eps costs u (variance + eps). Together at most e = 8 g (Q + eps).
2. Where e exceeds a quarter of D = sigma_low^2 + eps nothing is guaranteed (mean x^2 - mean^2 can then be
   negative). Elsewhere 1/sqrt(D + e') is within e / D + 2^-19 relatively: (1 - q)^(-1/2) <= 1 + q for q <= 1/4,
   and 2^-19 pays for a square root, a reciprocal and a division with 8 units in the last place each.
3. y = (x - mean) / sqrt(D) scale + bias, or x f + (bias - mean f) with f = scale / sqrt(D): at most 4 roundings of
   terms of size |x| f, A f and |bias|, and the error g A of the mean. As f is at most 4/3 of |scale| / sqrt(D),
   4 g (|x| + A) |scale| / sqrt(D) + 4 g |bias| + 2^-100 covers these and that of our result in float32.

A root mean square has no difference in it: its square errs by g relatively, 8 g + 2^-19 takes the place of 2., and
4 g |bias| + 2^-100 is all that is left of 3.

Underflow loses 2^-126 in each square; with D >= eps >= 2^-40 that is nothing beside e. Squares do not overflow
while |x| <= 2^50; beyond, nothing is guaranteed. Ours runs in float64.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, constant_of, number, optional, require
from goodcert.bounds.transcendental import RELATIVE

_LARGEST = 2.0**50


class Standard(NamedTuple):
    """lower, upper: of (x - mean) / sqrt(variance + eps), in real arithmetic. size: the largest |x| + A, 0 where
    nothing cancels. inverse: the largest 1 / sqrt(D). error: the relative error of the deployed inverse; infinite
    for none."""

    lower: Tensor
    upper: Tensor
    size: Tensor
    inverse: Tensor
    error: Tensor


def standardised(
    x: Interval, axes: Sequence[int], eps: float, rounding: Rounding, *, centred: bool = True
) -> Standard:
    """Of the values along `axes` together. centred: whether their mean is taken away; else they are divided by
    their root mean square. All float64."""
    axes, low, high = list(axes), x.lower.double(), x.upper.double()
    n = prod(int(low.shape[axis]) for axis in axes)
    centre, radius = (low + high) * 0.5, (high - low) * 0.5
    deviation = centre - centre.mean(axes, keepdim=True) if centred else centre
    spread, reach = _rms(deviation, axes), _rms(radius, axes)
    least, most = (spread - reach).clamp(min=0), spread + reach
    if centred:
        own = (high - low) / n
        low, high = low - high.mean(axes, keepdim=True) + own, high - low.mean(axes, keepdim=True) - own
    share = max(n - 1, 1) if centred else n
    magnitude = x.magnitude.double()
    smallest = least * least + eps
    largest = (magnitude * magnitude).mean(axes, keepdim=True) + eps
    wrong = 8 * rounding.gamma(n + 8) * (largest / smallest if centred else torch.ones_like(largest))
    lost = (wrong > 0.25) | (magnitude.amax(axes, keepdim=True) > _LARGEST)
    return Standard(
        -_upper(-low, least, most, share, eps),
        _upper(high, least, most, share, eps),
        magnitude + magnitude.mean(axes, keepdim=True) if centred else torch.zeros_like(magnitude),
        smallest.rsqrt(),
        torch.where(lost, torch.inf, wrong + 2 * RELATIVE) if rounding.unit else torch.zeros_like(wrong),
    )


def _rms(x: Tensor, axes: list[int]) -> Tensor:
    return (x * x).mean(axes, keepdim=True).sqrt()


def _upper(deviation: Tensor, least: Tensor, most: Tensor, share: int, eps: float) -> Tensor:
    """The largest of deviation / sqrt(spread^2 + eps), for a spread no less than the deviation implies."""
    above = (least * least).maximum(deviation * deviation / share) + eps
    return deviation * torch.where(deviation > 0, above, most * most + eps).rsqrt()


def scaled(s: Standard, scale: Tensor, bias: Tensor, terms: int, rounding: Rounding) -> Interval:
    """Times `scale` plus `bias`, with the margins of 2. and 3.; infinite where nothing is guaranteed."""
    scale, bias = scale.double(), bias.double()
    first, second = s.lower * scale + bias, s.upper * scale + bias
    low, high = first.minimum(second), first.maximum(second)
    if rounding.unit == 0:
        return Interval(low.float(), high.float())
    sloped = s.lower.abs().maximum(s.upper.abs()) * s.error + 4 * rounding.gamma(terms) * s.size * s.inverse
    margin = sloped * scale.abs() + 4 * rounding.gamma(terms) * bias.abs() + rounding.tiny
    # 0 times infinity: a scale of 0 under a spread that may be lost.
    margin = margin.nan_to_num(nan=torch.inf, posinf=torch.inf)
    return Interval((low - margin).float(), (high + margin).float())


# --- the operators ------------------------------------------------------------------------------------


def _epsilon(node: Node) -> float:
    eps = number(node, "epsilon", 1e-5)
    require(node, 2.0**-40 <= eps <= 1, "an epsilon from 2^-40 to 1")
    return eps


def layer_norm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Over all axes from `axis` on; scale and bias are of their shape, or of one that broadcasts to it."""
    return _trailing(node, inputs, optional(node, inputs, 2), rounding, centred=True)


def rms_norm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _trailing(node, inputs, None, rounding, centred=False)


def _trailing(
    node: Node, inputs: Constants, bias: Tensor | None, rounding: Rounding, *, centred: bool
) -> Transform:
    require(node, node.attributes.get("stash_type", 1) == 1, "statistics in float32")
    scale, eps, first = constant_of(node, inputs[1]), _epsilon(node), node.attributes.get("axis", -1)
    bias = scale.new_zeros(1) if bias is None else bias

    def transform(x: Interval) -> Interval:
        axes = range(first % x.lower.ndim, x.lower.ndim)
        n = prod(int(x.lower.shape[axis]) for axis in axes)
        return scaled(standardised(x, axes, eps, rounding, centred=centred), scale, bias, n + 8, rounding)

    return transform


def instance_norm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Over the pixels of every channel of every image."""
    return _channelwise(node, inputs, None, rounding)


def group_norm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """Over the pixels of every group of channels, with a scale and a bias for every channel (opset 21; opset 18
    has them for every group)."""
    require(node, node.attributes.get("stash_type", 1) == 1, "statistics in float32")
    return _channelwise(node, inputs, node.attributes["num_groups"], rounding)


def _channelwise(node: Node, inputs: Constants, groups: int | None, rounding: Rounding) -> Transform:
    """groups: into how many the channels are gathered; None for one each."""
    scale, bias, eps = constant_of(node, inputs[1]), constant_of(node, inputs[2]), _epsilon(node)

    def transform(x: Interval) -> Interval:
        shape = x.lower.shape
        require(node, len(shape) > 2, "images (N, C, ...)")
        require(node, scale.numel() == bias.numel() == shape[1], "a scale and a bias for every channel")
        grouped = [shape[0], groups or int(shape[1]), -1]
        parts = standardised(Interval(*(end.reshape(grouped) for end in x)), [2], eps, rounding)
        back = Standard(*(_spread_over(part, grouped, x).reshape(shape) for part in parts))
        by_channel = [-1, *[1] * (len(shape) - 2)]
        terms = x.lower.numel() // (int(shape[0]) * grouped[1]) + 8
        return scaled(back, scale.reshape(by_channel), bias.reshape(by_channel), terms, rounding)

    return transform


def _spread_over(part: Tensor, grouped: list[int], x: Interval) -> Tensor:
    return part.expand(x.lower.reshape(grouped).shape)


def local_response(node: Node, _: Constants, rounding: Rounding) -> Transform:
    """LRN: y = x / (bias + alpha / size sum x_j^2)^beta over the channels around (Krizhevsky et al., 2012, 3.3).

    With the other channels' sum of squares R, y falls with R for x > 0, and with x it rises up to
    x^2 = (bias + a R) / ((2 beta - 1) a), if beta > 1/2, and falls from there: its extremes on a box are at ends
    or at that peak. y is odd in x.

    Rounding. Runtimes slide the window over the C channels, adding a square and taking one away, so the base D of
    the power strays by up to e = gamma_{2 C + size + 8} (bias + 2 a sum of the squares of *all* channels). Where
    that exceeds a quarter of the least D, or the power could overflow, nothing is guaranteed. Elsewhere, with
    q = e / D <= 1/4 and beta <= 2, the power is within (1 - q)^-2 - 1 <= 4 q and `RELATIVE` for the function, and
    another `RELATIVE` pays for the quotient and for ours in float64.
    """
    size, alpha = node.attributes["size"], number(node, "alpha", 1e-4)
    beta, bias = number(node, "beta", 0.75), number(node, "bias", 1.0)
    require(node, size >= 1 and alpha >= 0 and 0 <= beta <= 2, "size >= 1, alpha >= 0 and beta from 0 to 2")
    require(node, 2.0**-20 <= bias <= 2.0**20, "a bias from 2^-20 to 2^20")
    slope, before = alpha / size, (size - 1) // 2

    def value(x: Tensor, others: Tensor) -> Tensor:
        return x / torch.pow(bias + slope * (others + x * x), beta)

    def largest(x: Interval, least: Tensor, most: Tensor) -> Tensor:
        low = x.lower.clamp(min=0)
        rising = 2 * beta <= 1 or slope == 0
        peak = x.upper if rising else ((bias + slope * least) / ((2 * beta - 1) * slope)).sqrt()
        above = value(low.maximum(peak.minimum(x.upper)), least)
        return torch.where(x.upper >= 0, above, value(x.upper, most).maximum(value(x.lower, most)))

    def transform(x: Interval) -> Interval:
        require(node, x.lower.ndim > 1, "channels on the second axis")
        wide = Interval(x.lower.double(), x.upper.double())
        nearest = wide.lower.clamp(min=0).maximum(-wide.upper)
        least, most = (_neighbours(end * end, before, size) for end in (nearest, wide.magnitude))
        upper, lower = largest(wide, least, most), -largest(Interval(-wide.upper, -wide.lower), least, most)
        if rounding.unit == 0:
            return Interval(lower.float(), upper.float())
        everything = bias + 2 * slope * (wide.magnitude * wide.magnitude).sum(1, keepdim=True)
        slid = rounding.gamma(2 * int(x.lower.shape[1]) + size + 8) * everything
        wrong = slid / (bias + slope * (least + nearest * nearest))
        lost = (wrong > 0.25) | (everything > 2.0**50) | (wide.magnitude > 2.0**50)
        share = 4 * wrong + 2 * RELATIVE
        margins = (torch.where(lost, torch.inf, y.abs() * share + rounding.tiny) for y in (lower, upper))
        return Interval((lower - next(margins)).float(), (upper + next(margins)).float())

    return transform


def _neighbours(squares: Tensor, before: int, size: int) -> Tensor:
    """For every channel the sum over the others of its window: `before` of them before it."""
    after = size - 1 - before
    pads = [0, 0] * (squares.ndim - 2) + [before, after]
    padded = torch.nn.functional.pad(squares, pads)
    total = torch.zeros_like(squares)
    for start in range(size):
        if start != before:
            total = total + padded.narrow(1, start, squares.shape[1])
    return total
