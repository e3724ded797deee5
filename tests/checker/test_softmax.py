"""Eq. 6 between two numbers, against mpmath at far more digits."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

from chains import confidences
from goodcert.checker.softmax import largest_share


def exactly(value: Fraction) -> mpmath.mpf:
    return mpmath.mpf(value.numerator) / value.denominator


@pytest.mark.parametrize("exponent", ["0.5", "-0.5", "1e-30", "-1e-30", "1.99", "-60", "-700", "-12345.678"])
@pytest.mark.parametrize("digits", [20, 40, 160])
def test_an_exponential_is_enclosed_as_closely_as_stated(exponent: str, digits: int) -> None:
    x = Fraction(exponent)
    # One row counts: 1 / (1 + exp(x)); the other has 1 / (1 + exp(3)), which is less than 1 / 2.
    numbers, scale = np.array([[0, x.numerator], [3 * x.denominator, 0]], dtype=object), x.denominator
    low, high = largest_share(numbers, scale, digits)
    with mpmath.workdps(400):
        true = max(1 / (1 + mpmath.exp(exactly(x))), mpmath.mpf(1) / 2)
        assert exactly(low) <= true <= exactly(high)
        assert high - low <= (abs(x) + 4 + 4) * Fraction(10) ** (1 - digits)


@pytest.mark.parametrize("seed", range(20))
def test_both_bounds_are_enclosed(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, 12))
    numbers = random.integers(-(10**6), 10**6, (classes, classes)).astype(object) * 10 ** int(
        random.integers(0, 3)
    )
    np.fill_diagonal(numbers, 0)
    bounds = [[Fraction(number, 10**6) for number in row] for row in numbers]
    with mpmath.workdps(200):
        upper, lower = confidences(bounds)
        for low, high, true in (
            (*largest_share(-numbers, 10**6, 40), max(upper, mpmath.mpf(1) / classes)),
            (*largest_share(numbers.T, 10**6, 40), lower),
        ):
            assert exactly(low) <= true <= exactly(high)
            assert high - low < Fraction(1, 10**35)


def test_equal_logits_share_exactly() -> None:
    zeros = np.zeros((3, 3), dtype=object)
    assert largest_share(zeros, 7, 40) == (Fraction(1, 3), Fraction(1, 3))


def test_exponents_of_any_size_cost_nothing() -> None:
    numbers = np.array([[0, -(10**300)], [10**300, 0]], dtype=object)
    low, high = largest_share(numbers, 1, 40)
    assert 1 - Fraction(1, 10**38) < low <= 1 <= high
