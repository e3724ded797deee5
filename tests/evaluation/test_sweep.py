"""The search for a kernel that is too coarse finds one, wherever it is."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from goodcert.evaluation.accuracy import COUNT, REFERENCE, Tally, numbers, places, truths
from goodcert.evaluation.functions import FUNCTIONS, UNIT, Array, Deployed
from goodcert.evaluation.kernels import ROW, Kernel, kernels
from goodcert.evaluation.sweep import BLOCK, PLACES, REPEATED, Sweep, Worst, every_place, sweep

EXP, SQRT, TANH = FUNCTIONS["Exp"], FUNCTIONS["Sqrt"], FUNCTIONS["Tanh"]
STRIDE = 2**21 - 1


def right(function: Deployed) -> Callable[[Array], Array]:
    """Its float64 value, rounded."""

    def kernel(x: Array) -> Array:
        with np.errstate(over="ignore"):
            return function.reference(x).astype(np.float32)

    return kernel


def fake(function: Deployed, whole: Callable[[Array], Array] | None = None) -> Kernel:
    return Kernel("fake", whole or right(function), right(function))


def swept(function: Deployed, kernel: Kernel, stride: int = STRIDE) -> Tally:
    *_, done = sweep(function, (kernel,), stride, Sweep.start(1))
    return done.tallies[0]


# --- inputs -------------------------------------------------------------------------------------------


def test_places_are_in_the_order_of_the_numbers() -> None:
    x = np.float32([-np.inf, -2, -1, -1e-45, -0.0, 0.0, 1e-45, 1, 2, np.inf])
    assert (np.diff(places(x)) > 0).all()
    assert places(x)[4:6].tolist() == [COUNT // 2 - 1, COUNT // 2]
    assert places(np.float32([1]))[0] - places(np.float32([0]))[0] == 0x3F800000


def test_every_bit_pattern_has_one_place() -> None:
    order = np.concatenate([np.arange(0, COUNT, 2**17 - 1), np.arange(2**31 - 3, 2**31 + 3), [COUNT - 1]])
    assert (places(numbers(order)) == order).all()


def test_every_input_is_seen_in_the_part_of_a_vector_that_fills_registers() -> None:
    """Blocks follow each other without a gap, and each begins where the last one's remainder did."""
    seen: list[Array] = []

    def whole(x: Array) -> Array:
        seen.append(x)
        return right(SQRT)(x)

    kernel = replace(fake(SQRT), whole=whole)
    steps = list(sweep(SQRT, (kernel,), 2**15 - 1, Sweep.start(1)))
    assert [len(x) for x in seen] == [BLOCK + REPEATED] * len(steps)
    assert all(a[BLOCK:].tobytes() == b[:REPEATED].tobytes() for a, b in pairwise(seen))
    assert all((BLOCK + REPEATED) % lanes == lanes - 1 for lanes in (4, 8, 16))
    assert steps[-1].done == steps[-1].tallies[0].inputs == -(-(2**31) // (2**15 - 1))


# --- what is said of a kernel -------------------------------------------------------------------------


def test_a_kernel_that_rounds_correctly_errs_by_half_a_unit() -> None:
    tally = swept(SQRT, fake(SQRT))
    assert tally.ulp == pytest.approx(0.5, abs=0.01)
    assert (tally.misrounded, tally.falls, tally.rest) == (0, 0, 0)
    assert 0.4 < tally.share < 1 / 2 + 2 * REFERENCE  # half a unit is u / 2 to u of the value, 2 u are allowed


def test_an_error_is_told_in_units_and_as_a_share() -> None:
    """At 4, where a unit is 2^-22 of 2: 8 of them are 32 u, or 16 u |f|."""
    x = np.float32([1, 4, 9])
    inside, _ = truths(SQRT, x)
    tally, shares = inside.tally(np.float32([1, 2 + 8 * 2**-22, 3]))
    assert tally.ulp == 8
    assert tally.share == pytest.approx(16 / 2)
    assert tally.worst == 4
    assert tally.misrounded == 1
    assert tally.rest == pytest.approx(8 * 2**-22 - UNIT * 2)
    assert shares.argmax() == 1


def test_falls_are_counted_where_f_never_decreases() -> None:
    inside, _ = truths(TANH, np.float32([1, 2, 3, 4]))
    assert inside.tally(np.float32([0.7, 0.9, 0.8, 0.8]))[0].falls == 1


def test_nan_and_infinity_are_infinitely_wrong() -> None:
    inside, _ = truths(EXP, np.float32([0, 1]))
    for bad in (np.nan, np.inf):
        tally, _ = inside.tally(np.float32([1, bad]))
        assert tally.share == tally.ulp == np.inf


def test_beyond_what_is_certified_errors_are_told_apart() -> None:
    def whole(x: Array) -> Array:
        return np.where(x > 60, np.float32(0), right(EXP)(x))  # exp(60) is 2^86

    tally = swept(EXP, fake(EXP, whole), 2**13 - 1)
    assert tally.share < 0.1
    assert tally.beyond > 1e5


def test_inputs_without_a_value_are_not_counted_against_a_kernel() -> None:
    inside, beyond = truths(FUNCTIONS["Log"], np.float32([-1, 0, np.nan, np.inf, 1]))
    assert inside.x.tolist() == [1]
    assert len(beyond.x) == 0


def test_the_worst_inputs_are_kept() -> None:
    worst = Worst.none()
    for start in (0, 8000, 16000):
        x = np.arange(start, start + 8000, dtype=np.float32)
        worst = worst.joined(x, (x % 12000).astype(np.float64))
    assert len(worst.x) == 10_000
    assert worst.share.min() == 7000  # two each from there to 11,999
    assert {11_999, 23_999} <= set(worst.x.tolist())


# --- places -------------------------------------------------------------------------------------------


def test_a_kernel_that_is_the_same_everywhere_differs_nowhere() -> None:
    for kernel in (fake(TANH), kernels(FUNCTIONS["Reciprocal"])[1]):
        function = TANH if kernel.runtime == "fake" else FUNCTIONS["Reciprocal"]
        assert every_place(function, kernel, np.float32([0.5]), STRIDE).differing == 0


@pytest.mark.parametrize("lane", [0, 5, PLACES - 1])
def test_a_wrong_lane_is_found(lane: int) -> None:
    def whole(x: Array) -> Array:
        made = right(EXP)(x)
        made[lane::PLACES] *= np.float32(1 + 2**-18)
        return made

    found = every_place(EXP, fake(EXP, whole), np.float32([0.5]), STRIDE)
    assert found.differing > 0
    assert found.share > 1


@pytest.mark.parametrize("last", [1, 3, 15])
def test_a_wrong_remainder_is_found(last: int) -> None:
    """Of a short row the last value that no register holds."""

    def rows(x: Array) -> Array:
        made = right(EXP)(x.ravel()).reshape(x.shape)
        made[:, ROW - last] *= np.float32(1 + 2**-18)
        return made

    found = every_place(EXP, replace(fake(EXP), rows=rows), np.float32([0.5]), STRIDE)
    assert found.differing > 0
    assert found.share > 1


def test_a_remainder_that_is_wrong_at_one_input_beside_the_worst_is_found() -> None:
    """Which no stride meets."""
    bad = np.nextafter(np.float32(0.5), np.float32(1))

    def rows(x: Array) -> Array:
        made = right(EXP)(x.ravel()).reshape(x.shape)
        made[:, -1] = np.where(x[:, -1] == bad, np.float32(2), made[:, -1])
        return made

    kernel = replace(fake(EXP), rows=rows)
    assert every_place(EXP, kernel, np.float32([0.5]), STRIDE).share > 1000
    assert every_place(EXP, kernel, np.float32([7.5]), STRIDE).share < 0.1


@pytest.mark.parametrize("name", ["Exp", "Div", "Gelu (tanh)"])
def test_short_rows_are_computed_for_all_inputs_in_their_order(name: str) -> None:
    x = np.linspace(0.1, 3, 300 * ROW, dtype=np.float32).reshape(300, ROW)
    function = FUNCTIONS[name]
    for kernel in kernels(function):
        inside, _ = truths(function, x.ravel())
        assert inside.errors(kernel.rows(x).ravel())[1].max() < 1
