"""The losses of all methods as functions of tensors, one value an image. Equations by number alone are those of
GOOD (Bitterwolf, Meinke, Hein, NeurIPS 2020, section 3)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def log_confidence(logits: Tensor) -> Tensor:
    """(N,) CEDA: log max_k p(k | z), on outliers (Hein, Andriushchenko, Bitterwolf, CVPR 2019)."""
    return logits.log_softmax(dim=1).amax(dim=1)


def entropy_to_uniform(logits: Tensor) -> Tensor:
    """(N,) Outlier Exposure, and ACET after its attack: -1/K sum_k log p(k | z), the cross entropy to the uniform
    distribution (Hendrycks, Mazeika, Dietterich, ICLR 2019)."""
    return -logits.log_softmax(dim=1).mean(dim=1)


def binary_inside(log_odds: Tensor) -> Tensor:
    """(N,) ProoD: -log p(in | x) = log(1 + exp(-s)) of log-odds s (N,) on the in-distribution (Meinke, Bitterwolf,
    Hein, NeurIPS 2022)."""
    return F.softplus(-log_odds)


def binary_outside(log_odds_upper: Tensor) -> Tensor:
    """(N,) ProoD: -log(1 - max p(in | z)) = log(1 + exp(s)) on outliers, where s (N,) bounds the log-odds over a
    ball from above (same paper)."""
    return F.softplus(log_odds_upper)


def evidence(log_inside: Tensor, log_outside: Tensor) -> Tensor:
    """(N,) CCU: -log p(x) of an image of either distribution, p(x) = p(x | in) / 2 + p(x | out) / 2, from the two
    log densities (N,) (Meinke and Hein, ICLR 2020)."""
    return -(torch.logaddexp(log_inside, log_outside) - torch.tensor(2.0).log())


def good(margins: Tensor) -> Tensor:
    """(N,) eq. 8: log(1 + d^2 / 2), d = max over k, l of ub(f_k - f_l) in margins (N, K, K).

    Quadratic near 0 and logarithmic far out: the largest difference bounds the log confidence (eq. 7), and
    this form of it keeps gradients in hand on outliers that are far from being certified.
    """
    return (margins.amax(dim=(1, 2)) ** 2 / 2).log1p()


def good_at_point(logits: Tensor) -> Tensor:
    """(N,) eq. 8 for a ball of radius 0, where d is the largest minus the smallest logit."""
    return ((logits.amax(dim=1) - logits.amin(dim=1)) ** 2 / 2).log1p()


def good_quantile(margins: Tensor, logits: Tensor, quantile: float) -> Tensor:
    """(N,) eq. 10, GOOD_Q: the loss over the ball for the `quantile` of the batch with the lowest bounds, the
    loss at the point for the rest, which would cost too much accuracy to certify (Q = 100 quantile).

    logits (N, K) are those of the same images at the centre of their balls.
    """
    over_ball, at_point = good(margins), good_at_point(logits)
    certified = int(quantile * len(margins) + 1e-9)  # 0.29 * 100 is a little less than 29
    order = margins.amax(dim=(1, 2)).argsort()
    return torch.cat([over_ball[order[:certified]], at_point[order[certified:]]])


def silence(values: Tensor, outliers: Tensor) -> Tensor:
    """(N,) max(0, 1 - max_j (z_j - a_j)) of what goes into the rectifiers of one layer, z (N, units), where a_j is
    what comes out of unit j on average over outliers, of which M x units went in.

    The loss on outliers pushes units down, and an image of the in-distribution that loses every unit of a layer is
    lost for good: its logits are those of noise, and no gradient reaches it any more, but for this one. Less a_j,
    as a unit that is on for every image tells nothing. Shi, Wang, Zhang, Yi, Hsieh, NeurIPS 2021, keep units from
    dying in interval training, too, by another regulariser.
    """
    common = outliers.relu().mean(dim=0).detach()
    return (1 - (values - common).amax(dim=1)).relu()


def objective(cross_entropy: Tensor, out_losses: Tensor, kappa: float) -> Tensor:
    """Eq. 9: the mean cross entropy on the in-distribution plus kappa times the mean loss on outliers."""
    return cross_entropy.mean() + kappa * out_losses.mean()
