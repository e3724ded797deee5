"""Sums in float32: fused multiply-add is exact to the bit, and every order is an order of the same sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exact import Array, rational, round32
from goodcert.evaluation.summation_orders import ORDERS, dense, fused_multiply_add

floats = st.floats(width=32, min_value=-(2.0**60), max_value=2.0**60)


def fused(a: float, b: float, c: float) -> np.float32:
    return np.float32(fused_multiply_add(*(np.float32([value]) for value in (a, b, c)))[0])


@given(a=floats, b=floats, c=floats)
def test_fused_multiply_add_rounds_the_exact_value_once(a: float, b: float, c: float) -> None:
    exact = rational(a).item() * rational(b).item() + rational(c).item()
    assert fused(a, b, c) == round32(exact)


@given(a=floats, b=floats, shift=st.integers(-30, 30), sign=st.sampled_from([-1, 1]))
def test_fused_multiply_add_rounds_once_where_much_cancels(a: float, b: float, shift: int, sign: int) -> None:
    with np.errstate(over="ignore"):
        c = np.float32(sign * float(np.float32(a)) * b * 2.0**shift)
    if np.isfinite(c):
        exact = rational(a).item() * rational(b).item() + rational(c).item()
        assert fused(a, b, float(c)) == round32(exact)


def test_fused_multiply_add_does_not_round_twice() -> None:
    """1 + 2^-24 + 2^-60 lies above a tie of float32 by what float64 cannot see."""
    a, b = 1 + 2.0**-12, 1 - 2.0**-12  # a b = 1 - 2^-24
    assert fused(a, b, 2.0**-23 + 2.0**-46) == np.float32(1 + 2.0**-23)
    assert fused(2.0**-30, 2.0**-30, 1.0) == 1
    assert np.float32(1 + 2.0**-24 + 2.0**-60) == 1
    assert fused(2.0**-12 * (1 + 2.0**-20), 2.0**-12 * (1 - 2.0**-20), 1.0) == 1  # just below the tie
    assert fused(2.0**-12 * (1 + 2.0**-18), 2.0**-12 * (1 - 2.0**-19), 1.0) == np.float32(1 + 2.0**-23)


def test_fused_multiply_add_keeps_subnormal_results() -> None:
    assert fused(2.0**-75, 2.0**-75, 2.0**-149) == np.float32(2.0**-148)  # half a unit above: to even
    assert fused(2.0**-75, 2.0**-74, 0.0) == np.float32(2.0**-149)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("name", ORDERS)
def test_every_order_is_exact_where_nothing_rounds(name: str, fuse: bool) -> None:
    random = np.random.default_rng(0)
    weight, x = random.integers(-9, 9, (3, 37)), random.integers(-9, 9, (4, 37))
    bias = np.int64([5, -7, 0])
    computed = dense(ORDERS[name], fuse, *(np.float32(v) for v in (weight, bias, x)))
    assert np.array_equal(computed, x @ weight.T + bias)


def test_orders_differ_where_sums_round() -> None:
    random = np.random.default_rng(0)
    weight, x = random.random((1, 997), dtype=np.float32), random.random((1, 997), dtype=np.float32)
    bias = np.float32([0.1])
    computed = {dense(o, f, weight, bias, x).item() for o in ORDERS.values() for f in (False, True)}
    assert len(ORDERS) == 12
    assert len(computed) > 6


def by_hand(values: list[float]) -> Array:
    return np.float32([values])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sequential, bias first", 2.0**24),  # (2^24 + 1) + 1 + ... stays
        ("sequential, bias last", 2.0**24 + 4),
        ("pairwise", 2.0**24 + 4),
        ("4 lanes", 2.0**24 + 2),  # ((2^24 + 1) + 1) + (1 + 1)
    ],
)
def test_an_order_does_what_its_name_says(name: str, expected: float) -> None:
    ones = by_hand([1.0] * 4)
    assert dense(ORDERS[name], False, ones, np.float32([2.0**24]), ones).item() == expected


@pytest.mark.parametrize(("name", "expected"), [("largest first", 2.0**24), ("smallest first", 2.0**24 + 2)])
def test_orders_by_size_start_where_they_say(name: str, expected: float) -> None:
    weight, x = by_hand([1, 2.0**24, 1]), by_hand([1, 1, 1])
    assert dense(ORDERS[name], False, weight, np.float32([0]), x).item() == expected
