"""Attacks that training defends against."""

import torch
from torch import Tensor, nn

from goodcert.training.losses import log_confidence


def most_confident(net: nn.Module, images: Tensor, epsilon: float, steps: int, clip: bool) -> Tensor:
    """Images (N, C, H, W) moved within the l-infinity ball of radius epsilon to where `net` is most confident.

    Projected gradient ascent on the log confidence from the images themselves, `steps` steps of size
    2 epsilon / (steps + 1) along the sign of the gradient; the best point on the way, so never worse than the
    start. clip: whether points stay in [0, 1]. (Bitterwolf, Meinke, Hein, NeurIPS 2020, appendix, for ACET.)
    """
    if epsilon == 0:
        return images
    lower, upper = images - epsilon, images + epsilon
    if clip:
        lower, upper = lower.clamp(min=0), upper.clamp(max=1)
    best, best_score = images, images.new_full((len(images),), -torch.inf)
    point = images
    for step in range(steps + 1):
        point = point.detach().requires_grad_()
        with torch.enable_grad():
            score = log_confidence(net(point).float())
            (gradient,) = torch.autograd.grad(score.sum(), point)
        better = score.detach() > best_score
        best = torch.where(better[:, None, None, None], point.detach(), best)
        best_score = torch.where(better, score.detach(), best_score)
        if step < steps:
            moved = point.detach() + 2 * epsilon / (steps + 1) * gradient.sign()
            point = moved.maximum(lower).minimum(upper)
    return best
