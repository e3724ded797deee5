"""The highest confidence that an attacker finds near an outlier: Auto-PGD from several starts, and points found
on other models. What is found is measured by the engine that serves; its bound must never be below it."""

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from goodcert.bounds.ball import SLACK, round_down, round_up
from goodcert.evaluation.apgd import ascend

Points = NDArray[np.float32]
"""(N, C, H, W) in [0, 1]."""

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Budget:
    """points: of every out-distribution. steps: of each run. restarts: runs for each point, at most 5."""

    points: int
    steps: int
    restarts: int


BUDGETS: Mapping[str, Budget] = {"short": Budget(200, 100, 2), "full": Budget(1000, 500, 5)}

_BATCH, _SEED = 100, 2020


def sample(images: Sized, count: int) -> NDArray[np.int64]:
    """The indices of `count` images, or of all where there are fewer, spread evenly."""
    return np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(np.int64)


def inner_box(images: NDArray[np.uint8], epsilon: float) -> tuple[Points, Points]:
    """(lower, upper): float32 points between them certainly lie in the real ball, as its ends are rounded inward;
    the image itself is one of them."""
    real, middle = images / 255, (images / 255).astype(np.float32)
    lower = round_up(np.clip(real - epsilon + SLACK, 0, 1))
    upper = round_down(np.clip(real + epsilon - SLACK, 0, 1))
    return np.minimum(lower, middle), np.maximum(upper, middle)


def log_odds(logits: Tensor) -> Tensor:
    """(N,) log(p / (1 - p)) of the largest softmax probability p, which it grows with. Unlike p in float32 it is
    as fine near 1 as elsewhere, and has a gradient there."""
    others = logits.masked_fill(torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).bool(), -torch.inf)
    return logits.amax(dim=1) - others.logsumexp(dim=1)


def attack(
    logits: Logits, images: NDArray[np.uint8], epsilon: float, budget: Budget, device: torch.device, name: str = ""
) -> Points:
    """(restarts + 1, N, C, H, W): for every image its most confident start and the points where the runs ended.

    Each image takes its `restarts` most confident starts: where a network is constant, no gradient leads out.
    """
    generator = torch.Generator().manual_seed(_SEED)
    batches = tqdm(np.array_split(images, -(-len(images) // _BATCH)), desc=f"attacking {name}", leave=False)
    return np.concatenate([_batch(logits, b, epsilon, budget, device, generator) for b in batches], axis=1)


def _batch(
    logits: Logits,
    images: NDArray[np.uint8],
    epsilon: float,
    budget: Budget,
    device: torch.device,
    generator: torch.Generator,
) -> Points:
    def objective(points: Tensor) -> Tensor:
        return log_odds(logits(points))

    lower, upper = (torch.from_numpy(end) for end in inner_box(images, epsilon))
    point = torch.from_numpy((images / 255).astype(np.float32))
    candidates = torch.stack(list(starts(point, lower, upper, generator))).to(device)
    with torch.no_grad():
        heights = torch.stack([objective(start) for start in candidates])
    order = heights.argsort(dim=0, descending=True, stable=True)[: budget.restarts]
    ranked = candidates[order, torch.arange(len(images), device=device)]
    ends = [ascend(objective, s, lower.to(device), upper.to(device), budget.steps) for s in ranked]
    return torch.stack([ranked[0], *ends]).cpu().numpy()


def starts(point: Tensor, lower: Tensor, upper: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """The image, its highest- and lowest-contrast points of the box, and two drawn uniformly from it."""
    mean = point.mean(dim=(1, 2, 3), keepdim=True)
    yield point
    yield torch.where(point > mean, upper, lower)
    yield mean.expand_as(point).clamp(lower, upper)
    for _ in range(2):
        drawn = lower + torch.rand(point.shape, generator=generator) * (upper - lower)
        yield drawn.clamp(lower, upper)
