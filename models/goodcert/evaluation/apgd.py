"""Auto-PGD (Croce and Hein, ICML 2020, algorithm 1): gradient ascent by signs, with momentum, inside
a box, whose step halves by itself where it no longer helps."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

MOMENTUM = 0.75
"""alpha: the share of the new step, but for the very first; the rest goes on in the direction of the last one."""

PROGRESS = 0.75
"""rho: the share of steps since the last checkpoint that must have led up for the step size to stay."""

Objective = Callable[[Tensor], Tensor]
"""From points (N, C, H, W) to what is to be made large, (N,), each depending on its own point alone."""


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size is judged: ceil(p_j steps), p_0 = 0, p_1 = 0.22,
    p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06). In hundredths, so that no rounding moves a checkpoint."""
    share, width, found = 0, 22, []
    while share + width <= 100:
        share += width
        found.append(ceil(share * steps / 100))
        width = max(width - 3, 6)
    return found


def ascend(objective: Objective, start: Tensor, lower: Tensor, upper: Tensor, steps: int) -> Tensor:
    """The best points of the box that `steps` steps from `start` reach; all tensors (N, C, H, W)."""
    climb, marks, judged = _Climb(objective, start, lower, upper), set(checkpoints(steps)), 0
    for step in range(1, steps + 1):
        climb.step(1 if step == 1 else MOMENTUM)
        if step in marks:
            climb.judge(step - judged)
            judged = step
    return climb.best.points


class _Here(NamedTuple):
    """Where each image stands: points (N, C, H, W), the objective (N,), its gradients like the points."""

    points: Tensor
    values: Tensor
    gradients: Tensor

    def or_else(self, other: "_Here", kept: Tensor) -> "_Here":
        """Self where `kept` (N,) holds, the other elsewhere."""
        wide = _wide(kept)
        return _Here(
            torch.where(wide, self.points, other.points),
            torch.where(kept, self.values, other.values),
            torch.where(wide, self.gradients, other.gradients),
        )


class _Climb:
    """The state of algorithm 1 for a batch of images, each with a step size of its own.

    The first step size is the width of the box: 2 epsilon, unless the ends of the pixel range cut it.

    One thing is not as in the paper. Where the step size is halved, algorithm 1 goes back to the best point and
    keeps the iterate before, so that its next momentum is the way between the two, which no step has taken and
    which may lead anywhere. Here the best point is the iterate before, too: the next step has no momentum.
    """

    def __init__(self, objective: Objective, start: Tensor, lower: Tensor, upper: Tensor) -> None:
        self._objective, self._lower, self._upper = objective, lower, upper
        self._here = self.best = self._at(start)
        self._before = start
        self._size = (upper - lower).flatten(1).amax(dim=1)
        self._rises = torch.zeros_like(self._size)
        self._best_before = self.best.values
        self._halved = torch.zeros_like(self._size, dtype=torch.bool)

    def step(self, alpha: float) -> None:
        """x + alpha (z - x) + (1 - alpha) (x - x_before), where z is the plain step; both kept inside the box."""
        x = self._here.points
        plain = self._inside(x + _wide(self._size) * self._here.gradients.sign())
        after = self._at(self._inside(x + alpha * (plain - x) + (1 - alpha) * (x - self._before)))
        self._rises += after.values > self._here.values
        self._before, self._here = x, after
        self.best = after.or_else(self.best, after.values > self.best.values)

    def judge(self, steps: int) -> None:
        """After `steps` steps: halve the step size and go back to the best point where too few of them led up,
        or where the size is an old one and the best point too."""
        stuck = ~self._halved & (self.best.values <= self._best_before)
        self._halved = (self._rises < PROGRESS * steps) | stuck
        self._size = torch.where(self._halved, self._size / 2, self._size)
        self._before = torch.where(_wide(self._halved), self.best.points, self._before)
        self._here = self.best.or_else(self._here, self._halved)
        self._rises, self._best_before = torch.zeros_like(self._rises), self.best.values

    def _inside(self, points: Tensor) -> Tensor:
        return points.clamp(self._lower, self._upper)

    def _at(self, points: Tensor) -> _Here:
        points = points.detach().requires_grad_()
        values = self._objective(points)
        (gradients,) = torch.autograd.grad(values.sum(), points)
        return _Here(points.detach(), values.detach(), gradients)


def _wide(values: Tensor) -> Tensor:
    """(N,) made to fit points."""
    return values[:, None, None, None]
