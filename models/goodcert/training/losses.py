"""The losses of GOOD as functions of tensors (Bitterwolf, Meinke, Hein, NeurIPS 2020, section 3)."""

import torch
from torch import Tensor


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


def objective(cross_entropy: Tensor, out_losses: Tensor, kappa: float) -> Tensor:
    """Eq. 9: the mean cross entropy on the in-distribution plus kappa times the mean loss on outliers."""
    return cross_entropy.mean() + kappa * out_losses.mean()
