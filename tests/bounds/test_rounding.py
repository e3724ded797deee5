"""The inequalities that the theorem of `rounding` rests on, in rational arithmetic."""

import operator
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exact import rational
from goodcert.bounds.interval import Interval, Nonnegative
from goodcert.bounds.rounding import EXACT, FLOAT32, MAX_ROW_SUM, MAX_TERMS, float32_above

U = Fraction(1, 2**24)
TERMS = sorted(
    {
        *range(2, 66),
        *(2**k + d for k in range(7, 20) for d in (-1, 0, 1)),
        784,
        4609,
        10**6,
        MAX_TERMS - 1,
        MAX_TERMS,
    }
)
BIASES = [0.0, 2.0**-149, 1e-30, 1e-3, 1.0, 3.7, 1e6, 1e12, 2.0**90]
finite = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60)


def gamma(terms: int) -> Fraction:
    return terms * U / (1 - terms * U)


def test_gamma_is_n_u_over_1_minus_n_u() -> None:
    assert FLOAT32.gamma(2**20) == float(Fraction(1, 15))
    assert FLOAT32.gamma(1) == pytest.approx(2.0**-24, rel=2**-23)
    assert EXACT.gamma(100) == 0


def test_slack_is_the_c_of_the_theorem_times_gamma() -> None:
    for terms in TERMS:
        exact = (2 + Fraction(8, terms) + 4 * gamma(terms)) * gamma(terms)
        assert FLOAT32.slack(terms) == pytest.approx(float(exact), rel=1e-14)


def test_more_roundings_than_the_proof_covers_are_refused() -> None:
    with pytest.raises(ValueError, match="1048577 roundings"):
        FLOAT32.gamma(MAX_TERMS + 1)


@pytest.mark.parametrize("value", [0.0, 1e-45, 0.1, 1.0, 1 + 1e-9, 2.0**-100, 1e30])
def test_float32_above_is_a_float32_number_above(value: float) -> None:
    above = float32_above(value)
    assert above > value
    assert float(np.float32(above)) == above
    assert above <= value + 2 * np.spacing(np.float32(value))


def test_the_factor_of_the_radius_is_sufficient() -> None:
    for terms in TERMS:
        a = Fraction(float32_above(1 + FLOAT32.slack(terms)))
        assert (1 - gamma(terms)) * (1 - U) ** 4 * a >= 1 + gamma(terms)


def test_the_factor_of_the_centre_is_sufficient() -> None:
    for terms in TERMS:
        b = Fraction(float32_above(FLOAT32.slack(terms)))
        assert (1 - gamma(terms)) * (1 - U) ** 4 * b >= 2 * gamma(terms) + U * (1 + gamma(terms))


def test_the_bias_radius_is_sufficient_and_pays_for_underflow() -> None:
    for terms in TERMS:
        g = gamma(terms)
        eta = 2**21 * (1 + g) * Fraction(1, 2**126)
        radius = FLOAT32.bias_radius(torch.tensor(BIASES), terms)
        assert radius is not None
        for bias, beta in zip(rational(np.float32(BIASES)), rational(radius.numpy()), strict=True):
            needed = (2 * g + U * (1 + g)) * bias + 4 * eta + Fraction(MAX_ROW_SUM) / 2**124
            assert (1 - g) * (1 - U) * beta >= needed


ends = st.floats(width=32, min_value=2.0**-60, max_value=2.0**60)


@given(x=ends, y=ends, terms=st.sampled_from(TERMS), sign=st.sampled_from([-1, 0, 1]))
def test_reach_times_stretch_covers_radius_and_centre(x: float, y: float, terms: int, sign: int) -> None:
    """f rho >= (1 - u)^3 (A r* + B |mu|) around mu = fl(l + h) / 2, for boxes of either sign and across 0."""
    lower, upper = {-1: (-max(x, y), -min(x, y)), 0: (-x, y), 1: (min(x, y), max(x, y))}[sign]
    box = (Nonnegative if sign == 1 else Interval)(torch.tensor([lower]), torch.tensor([upper]))
    covered = covered_by(FLOAT32.reach(box, terms), FLOAT32.stretch(torch.ones(1), terms))
    mu = Fraction(float(np.float32(lower) + np.float32(upper))) / 2
    radius = max(Fraction(upper) - mu, mu - Fraction(lower))
    slack = Fraction(FLOAT32.slack(terms))
    needed = (1 - U) ** 3 * ((1 + slack) * radius + slack * abs(mu))
    assert covered >= needed
    assert covered <= needed * (1 + 16 * U) + 8 * U * abs(mu)


def covered_by(reach: torch.Tensor, stretch: torch.Tensor) -> Fraction:
    return Fraction(reach.item()) * Fraction(stretch.item())


def test_without_rounding_reach_times_stretch_is_the_radius() -> None:
    box = Interval(torch.tensor([-5.0, 0.0]), torch.tensor([-3.0, 0.0]))
    assert (EXACT.reach(box, 10) * EXACT.stretch(torch.ones(1), 10)).tolist() == [1, 0]
    assert EXACT.bias_radius(box.lower, 10) is None


@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul, operator.truediv])
@given(x=finite, y=finite)
def test_widening_pays_for_one_correctly_rounded_operation(
    operation: Callable[[Fraction, Fraction], Fraction], x: float, y: float
) -> None:
    if operation is operator.truediv and y == 0:
        return
    real = operation(Fraction(x), Fraction(y))
    if abs(real) > 2.0**120:
        return
    rounded = operation(torch.tensor(x), torch.tensor(y))
    box = FLOAT32.widen(rounded, rounded)
    assert Fraction(box.lower.item()) <= real <= Fraction(box.upper.item())


@pytest.mark.parametrize("terms", [2, 10, 25089, MAX_TERMS])
def test_stretched_weights_are_at_least_f_times_their_size_and_zeros_stay(terms: int) -> None:
    values = np.float32([0, 1, -1, 3e-45, -1e-40, 2.0**-126, 1.1754942e-38, 0.1, -7e4, 2.0**90, 1 + 2.0**-23])
    stretched = FLOAT32.stretch(torch.from_numpy(values), terms)
    factor = Fraction(1, 2) + Fraction(FLOAT32.slack(terms)) + U
    for value, got in zip(rational(values), rational(stretched.numpy()), strict=True):
        assert abs(value) * factor <= got <= abs(value) * factor * (1 + 8 * U) + Fraction(1, 2**148)
    assert stretched[0].item() == 0


def test_divisions_of_constants_are_correctly_rounded_on_this_processor() -> None:
    """As passes.py needs them. Through float64 rounding twice changes nothing: 53 >= 2 * 24 + 2."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(100_003, generator=generator) + 0.5 for _ in range(2))
    assert torch.equal(x / y, (x.double() / y.double()).float())
    assert torch.equal(1 / y, (1 / y.double()).float())
