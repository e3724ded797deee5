"""The search for the certified radius, with a toy in the place of the bound, and with an engine."""

import numpy as np
import pytest

from goodcert import engine
from goodcert.engine.radius import WIDTH, RadiusSearch, radii
from graphs import classifier


def searched(largest: float) -> tuple[float | None, list[float]]:
    """The answer where everything up to `largest` is certified, and all that was tried."""
    search, tried = RadiusSearch(), list[float]()
    while search.epsilons:
        assert len(search.epsilons) <= WIDTH
        tried += search.epsilons
        search.tell([epsilon <= largest for epsilon in search.epsilons])
    return search.found, tried


@pytest.mark.parametrize(
    ("largest", "answer"),
    [(0.12345, 0.1234), (0.3, 0.3), (0.30009, 0.3), (0.9999, 0.9999), (0.00004, 0.0), (0.0, 0.0), (1.0, 1.0)],
)
def test_the_answer_is_the_largest_of_four_decimals_and_was_tried_itself(largest: float, answer: float) -> None:
    found, tried = searched(largest)
    assert found == answer
    assert found in tried
    assert len(tried) <= 38


def test_there_is_no_answer_where_not_even_0_is_certified() -> None:
    assert searched(-1.0)[0] is None


def test_a_dip_of_the_bound_further_out_is_not_believed() -> None:
    search = RadiusSearch()
    search.tell([True, True, False, True, True, False, False, False, False, False, False])
    assert search.epsilons == [n / 100 for n in range(11, 20)]


def test_rows_are_searched_in_step_in_four_passes() -> None:
    limits, passes = np.array([0.5, -1.0, 0.1234, 2.0]), []

    def certified(rows: np.ndarray, epsilons: np.ndarray) -> np.ndarray:
        passes.append(len(rows))
        return epsilons <= limits[rows]

    np.testing.assert_array_equal(radii(4, certified), [0.5, np.nan, 0.1234, 1.0])
    assert passes == [44, 18, 18, 18]


@pytest.fixture(scope="module")
def certifier() -> engine.Engine:
    return engine.compile(classifier(seed=6), threads=1)


@pytest.mark.parametrize("method", ["ibp", "crown"])
def test_the_bound_at_the_radius_is_at_most_the_threshold_and_beyond_it_is_not(
    certifier: engine.Engine, method: engine.Method
) -> None:
    images = np.random.default_rng(0).random((6, 1, 8, 8), dtype=np.float32)
    threshold = float(np.median(certifier.certify(images, 0.0).confidence_upper_bound))
    radius = certifier.certified_radius(images, threshold, method)
    held = ~np.isnan(radius)
    assert 0 < held.sum() < 6
    at = certifier.certify(images[held], radius[held], method)
    beyond = certifier.certify(images[held], radius[held] + 1e-4, method)
    assert (at.confidence_upper_bound <= threshold).all()
    assert (beyond.confidence_upper_bound > threshold).all()
    assert (certifier.certify(images[~held], 0.0, method).confidence_upper_bound > threshold).all()


def test_crown_certifies_a_larger_radius(certifier: engine.Engine) -> None:
    images = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    small, large = (certifier.certified_radius(images, 0.7, method) for method in ("ibp", "crown"))
    assert (large >= small).all()
    assert (large > small).any()


def test_every_ball_is_certified_below_a_threshold_of_1(certifier: engine.Engine) -> None:
    images = np.zeros((2, 1, 8, 8), np.float32)
    assert certifier.certified_radius(images, 1.0).tolist() == [1.0, 1.0]
