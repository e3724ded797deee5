"""The attack stays where the certificate speaks, and gets somewhere."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from goodcert import engine
from goodcert.bounds.reader import read_graph
from goodcert.engine.prediction import confidence
from goodcert.evaluation.attack import BUDGETS, Budget, attack, inner_box, log_odds, sample, starts
from goodcert.evaluation.differentiable import forward
from goodcert.evaluation.evaluate import highest
from graphs import classifier

BUDGET, CPU = Budget(points=12, steps=15, restarts=2), torch.device("cpu")


@pytest.fixture
def images() -> NDArray[np.uint8]:
    images = np.random.default_rng(3).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    images[0], images[1] = 0, 255
    return images


def test_the_full_setting_is_the_papers_and_the_short_one_takes_a_sixtieth_of_its_steps() -> None:
    assert {"full": Budget(1000, 500, 5), "short": Budget(200, 100, 2)} == BUDGETS
    full, short = (
        budget.points * budget.steps * budget.restarts for budget in (BUDGETS["full"], BUDGETS["short"])
    )
    assert full / short == 62.5


def test_the_inner_box_lies_in_the_real_ball_and_holds_the_image(images: NDArray[np.uint8]) -> None:
    lower, upper = inner_box(images, 0.1)
    assert ((lower >= 0) & (upper <= 1)).all()
    middle = (images / 255).astype(np.float32)
    assert ((lower <= middle) & (middle <= upper)).all()
    for pixel, low, high in zip(images.ravel(), lower.ravel(), upper.ravel(), strict=True):
        real = Fraction(int(pixel), 255)
        assert Fraction(float(low)) >= max(Fraction(0), real - Fraction("0.1"))
        assert Fraction(float(high)) <= min(Fraction(1), real + Fraction("0.1"))


def test_at_radius_zero_the_box_is_the_image(images: NDArray[np.uint8]) -> None:
    lower, upper = inner_box(images, 0.0)
    np.testing.assert_array_equal(lower, upper)


def test_log_odds_are_those_of_the_confidence_and_fine_where_it_is_one() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [40.0, 0.0, -50.0], [41.0, 0.0, -50.0]])
    p = 1 / (1 + 2 * np.exp(-2))
    odds = log_odds(logits)
    assert float(odds[0]) == pytest.approx(np.log(p / (1 - p)), rel=1e-6)
    assert odds[1:].tolist() == [40, 41]


def test_starts_are_the_image_its_contrasts_and_two_draws() -> None:
    point = torch.tensor([0.2, 0.4, 0.9]).reshape(1, 1, 1, 3)  # their mean is 0.5
    lower, upper = point - 0.1, point + 0.1
    image, high, low, *drawn = (start.flatten() for start in starts(point, lower, upper, torch.Generator()))
    torch.testing.assert_close(image, torch.tensor([0.2, 0.4, 0.9]))
    torch.testing.assert_close(high, torch.tensor([0.1, 0.3, 1.0]))
    torch.testing.assert_close(low, torch.tensor([0.3, 0.5, 0.8]))
    assert len(drawn) == 2
    assert all(((lower.flatten() <= x) & (x <= upper.flatten())).all() for x in drawn)


def test_every_point_that_is_found_lies_in_the_box(images: NDArray[np.uint8]) -> None:
    points = attack(forward(read_graph(classifier())), images, 0.1, BUDGET, CPU)
    lower, upper = inner_box(images, 0.1)
    assert points.shape == (3, *images.shape)
    assert points.dtype == np.float32
    assert ((lower <= points) & (points <= upper)).all()


def test_it_raises_confidences_but_never_above_the_bound(images: NDArray[np.uint8], device: str) -> None:
    compiled = engine.compile(classifier(), device, threads=1)
    certificates = compiled.certify(images, 0.1)
    target = torch.device(device)
    points = attack(forward(read_graph(classifier()).to(target)), images, 0.1, BUDGET, target)
    found = highest(compiled, points)
    assert np.mean(found > certificates.confidence + 1e-3) > 0.9
    assert (found <= certificates.confidence_upper_bound).all()


def test_more_steps_and_restarts_find_more(images: NDArray[np.uint8]) -> None:
    function, compiled = forward(read_graph(classifier())), engine.compile(classifier(), threads=1)
    little, much = (
        highest(compiled, attack(function, images, 0.1, budget, CPU))
        for budget in (Budget(12, 2, 1), Budget(12, 60, 5))
    )
    assert much.mean() > little.mean()


def test_it_repeats_itself(images: NDArray[np.uint8]) -> None:
    function = forward(read_graph(classifier()))
    np.testing.assert_array_equal(*(attack(function, images, 0.1, BUDGET, CPU) for _ in range(2)))


def test_the_highest_served_confidence_counts() -> None:
    compiled = engine.compile(classifier(), threads=1)
    points = np.random.default_rng(0).random((3, 4, 1, 8, 8), dtype=np.float32)
    each = [confidence(compiled.logits(p)) for p in points]
    np.testing.assert_array_equal(highest(compiled, points), np.max(each, axis=0))


def test_a_sample_is_spread_over_the_whole_set() -> None:
    assert sample(range(10), 4).tolist() == [0, 3, 6, 9]
    assert sample(range(3), 9).tolist() == [0, 1, 2]
