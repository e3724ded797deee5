"""Auto-PGD on hills whose tops are known."""

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
