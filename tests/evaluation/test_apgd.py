"""Auto-PGD on hills whose tops are known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from goodcert.evaluation.apgd import ascend, checkpoints

LOWER, UPPER = torch.full((4, 1, 3, 3), 0.2), torch.full((4, 1, 3, 3), 0.8)


def start() -> Tensor:
    return LOWER + torch.rand(LOWER.shape, generator=torch.Generator().manual_seed(0)) * (UPPER - LOWER)


def test_checkpoints_come_closer_and_closer() -> None:
    # p: 0.22, + 0.19, + 0.16, + 0.13, + 0.10, + 0.07, and from there + 0.06.
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10, 10]


def test_on_a_linear_function_one_step_finds_the_best_corner() -> None:
    weight = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(1))
    found = ascend(lambda x: (x * weight).sum(dim=(1, 2, 3)), start(), LOWER, UPPER, steps=1)
    torch.testing.assert_close(found, torch.where(weight > 0, UPPER, LOWER))


def test_on_a_round_hill_the_step_shrinks_until_the_top_is_reached() -> None:
    top = torch.linspace(0.25, 0.75, 9).reshape(1, 3, 3)
    found = ascend(lambda x: -((x - top) ** 2).sum(dim=(1, 2, 3)), start(), LOWER, UPPER, steps=100)
    assert (found - top).abs().max() < 0.02


def test_no_point_that_is_tried_lies_outside_the_box() -> None:
    tried = []

    def objective(x: Tensor) -> Tensor:
        tried.append(x.detach().clone())
        return (x * torch.sin(40 * x)).sum(dim=(1, 2, 3))

    ascend(objective, start(), LOWER, UPPER, steps=40)
    assert len(tried) == 41
    assert all(((x >= LOWER) & (x <= UPPER)).all() for x in tried)


def test_the_best_point_is_kept_and_never_below_the_start() -> None:
    heights = []

    def objective(x: Tensor) -> Tensor:
        value = torch.sin(40 * x).sum(dim=(1, 2, 3))
        heights.append(value.detach())
        return value

    found = ascend(objective, start(), LOWER, UPPER, steps=30)
    assert torch.equal(objective(found), torch.stack(heights).amax(dim=0))


def test_an_image_goes_the_same_way_beside_any_other() -> None:
    def objective(x: Tensor) -> Tensor:
        return torch.sin(40 * x).sum(dim=(1, 2, 3))

    together = ascend(objective, start(), LOWER, UPPER, steps=30)
    alone = ascend(objective, start()[1:2], LOWER[1:2], UPPER[1:2], steps=30)
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_flat_objective_leaves_the_start(steps: int) -> None:
    found = ascend(lambda x: 0 * x.sum(dim=(1, 2, 3)), start(), LOWER, UPPER, steps=steps)
    assert torch.equal(found, start())


# --- when the step size is halved -----------------------------------------------------------------------


class Script:
    """An objective that depends on how often it was asked, not on the point: on a hill in a box hardly a climb
    goes on, below a height reached before, for as long as condition 2 alone takes."""

    def __init__(self, heights: list[float], slopes: list[float]) -> None:
        self._turns, self.tried = iter(zip(heights, slopes, strict=True)), list[float]()

    def __call__(self, x: Tensor) -> Tensor:
        self.tried.append(x.item())
        height, slope = next(self._turns)
        return height + slope * (x - x.detach()).sum(dim=(1, 2, 3))


def transcribed(f: list[float], slope: list[float], start: float) -> tuple[list[float], list[tuple[bool, bool]]]:
    """Algorithm 1 in the names of the paper, for one number in [0, 1], without momentum after halving: every point
    that is tried, and which of the two conditions hold at each checkpoint."""
    x, f, slope, conditions = [start], list(f), list(slope), []
    eta = eta_w = 1.0
    x_max, f_max, slope_max = start, f[0], slope[0]
    tried, f_max_w, w = [start], f_max, 0
    for k in range(1, len(f)):
        z = min(max(x[k - 1] + eta * slope[k - 1], 0), 1)
        alpha, last = (0.75, x[k - 1] - x[k - 2]) if k > 1 else (1, 0)
        x.append(min(max(x[k - 1] + alpha * (z - x[k - 1]) + (1 - alpha) * last, 0), 1))
        tried.append(x[k])
        if f[k] > f_max:
            x_max, f_max, slope_max = x[k], f[k], slope[k]
        if k in checkpoints(len(f) - 1):
            first = sum(f[i + 1] > f[i] for i in range(w, k)) < 0.75 * (k - w)
            second = eta == eta_w and f_max == f_max_w
            conditions.append((first, second))
            eta_w, f_max_w, w = eta, f_max, k
            if first or second:
                eta, x[k], f[k], slope[k] = eta / 2, x_max, f_max, slope_max
                x[k - 1] = x_max  # where algorithm 1 keeps it
    return tried, conditions


def test_the_step_is_halved_where_a_condition_of_the_paper_holds_and_nowhere_else() -> None:
    random, seen = np.random.default_rng(0), set()
    zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for _ in range(20):
        heights = [0.0]
        for _ in range(100):  # mostly up, and now and then far down
            heights.append(heights[-1] + random.choice([1, 1, 1, 1, 1, 1, -1, -9]) * random.random())
        slopes = [random.choice([-1.0, 1.0]) for _ in heights]
        script = Script(heights, slopes)
        ascend(script, one / 2, zero, one, steps=100)
        tried, conditions = transcribed(heights, slopes, 0.5)
        assert script.tried == pytest.approx(tried, abs=1e-12)
        seen |= set(conditions)
    assert seen == {(False, False), (False, True), (True, False), (True, True)}
