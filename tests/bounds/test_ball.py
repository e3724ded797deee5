"""The box contains the true ball, whose ends are rational numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from goodcert.bounds.ball import (
    ByteBall,
    around,
    around_bytes,
    around_reals,
    parse_epsilon,
    round_down,
    round_up,
    unfold,
)

EPSILONS = ["0", "0.01", "0.03", "0.1", "0.3", "0.5", "0.999", "1", "0.00392156862745098039215686274509803921"]
BYTES = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("text", ["0.3", "0.1", "0.01", "0.30000000000000004", ".7", "1.", "0.2999999999"])
def test_epsilon_is_rounded_up_to_the_next_float(text: str) -> None:
    parsed = parse_epsilon(text)
    assert Fraction(parsed) >= Fraction(text)
    assert Fraction(float(np.nextafter(parsed, -1))) < Fraction(text)


def test_epsilon_of_three_tenths_is_above_the_nearest_float() -> None:
    assert Fraction(0.3) < Fraction("0.3")
    assert parse_epsilon("0.3") == np.nextafter(0.3, 1)
    assert parse_epsilon("0.1") == 0.1
    assert parse_epsilon("0.5") == 0.5


@pytest.mark.parametrize(
    "text",
    ["", "nan", "inf", "-0.1", "2", "1.0000000000000000001", "1e-3", "0,3", "٣", "0.٣", " 0.3", "0.3 ", "0.3\n",
     "+0.3", ".", "0.3.1", "0x1", "1_0", "0." + "1" * 99, "3/10"],
)  # fmt: skip
def test_anything_but_one_plain_decimal_in_0_1_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        parse_epsilon(text)


@pytest.mark.parametrize("text", EPSILONS)
def test_box_of_every_byte_contains_the_true_ball_and_hardly_more(text: str) -> None:
    ball = around_bytes(BYTES, parse_epsilon(text))
    epsilon = Fraction(text)
    for k, point, lower, upper in zip(range(256), ball.point, ball.lower, ball.upper, strict=True):
        low, high = max(Fraction(k, 255) - epsilon, Fraction(0)), min(Fraction(k, 255) + epsilon, Fraction(1))
        assert 0 <= Fraction(float(lower)) <= low
        assert high <= Fraction(float(upper)) <= 1
        assert lower <= point <= upper
        assert low - Fraction(float(lower)) < Fraction(1, 2**23)
        assert Fraction(float(upper)) - high < Fraction(1, 2**23)


@given(pixel=st.floats(0, 1, width=32), epsilon=st.floats(0, 1))
def test_box_of_every_float_pixel_contains_the_true_ball(pixel: float, epsilon: float) -> None:
    ball = around(np.full((1, 1, 1, 1), pixel, np.float32), epsilon)
    low, high = (
        max(Fraction(pixel) - Fraction(epsilon), Fraction(0)),
        min(Fraction(pixel) + Fraction(epsilon), Fraction(1)),
    )
    assert Fraction(ball.lower.item()) <= low
    assert high <= Fraction(ball.upper.item())
    assert ball.point.item() == pixel


def test_bytes_are_pixels_over_255_with_an_epsilon_for_each_image() -> None:
    images = np.stack([BYTES, BYTES]).reshape(2, 1, 16, 16)
    balls = around(images, np.array([0.1, 0.3]))
    for i, epsilon in enumerate((0.1, 0.3)):
        for got, expected in zip(balls, around_bytes(images[i], epsilon), strict=True):
            assert np.array_equal(got[i], expected)
            assert got.dtype == np.float32


def test_bytes_get_the_same_ball_alone_and_beside_others_of_any_epsilon() -> None:
    rng = np.random.default_rng(0)
    radii = [parse_epsilon(text) for text in (*EPSILONS, *reversed(EPSILONS))]
    waiting = [ByteBall(rng.integers(0, 256, (3, 4, 5), dtype=np.uint8), radius) for radius in radii]
    together = unfold(waiting)
    for i, one in enumerate(waiting):
        for got, table in zip(together, around_bytes(BYTES, one.epsilon), strict=True):
            assert np.array_equal(got[i], table[one.pixels])
            assert got.dtype == np.float32


def test_error_of_the_pixels_widens_the_box() -> None:
    ball = around_reals(np.array([0.5]), 0.0, error=0.25)
    assert ball.lower.item() <= 0.25
    assert ball.upper.item() >= 0.75


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, np.nan, [0.1, -0.1], [0.1, 0.2, 0.3], np.inf])
def test_epsilon_outside_0_1_or_of_another_length_is_refused(epsilon: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  NumPy words the mismatch of lengths
        around(np.zeros((2, 1, 1, 1), np.uint8), epsilon)  # type: ignore[arg-type]


@pytest.mark.parametrize("pixel", [np.nan, -0.01, 1.01, np.inf])
def test_pixels_outside_0_1_are_refused(pixel: float) -> None:
    with pytest.raises(ValueError, match="pixels outside"):
        around(np.full((1, 1, 1, 1), pixel, np.float32), 0.1)


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.float16])
def test_images_of_another_dtype_are_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match="expected float32"):
        around(np.zeros((1, 1, 1, 1), dtype), 0.1)


@given(st.floats(-2, 2))
def test_rounding_down_and_up_enclose_by_neighbours(value: float) -> None:
    down, up = round_down(np.array(value)), round_up(np.array(value))
    assert down.dtype == up.dtype == np.float32
    assert float(down) <= value <= float(up)
    assert up in (down, np.nextafter(down, np.float32(3)))


@given(st.lists(st.floats(allow_nan=False, width=64), min_size=1))
@example([0.0, -0.0, 1e-60, -1e-60, 1e-45, -1e-45, 3.5e38, -3.5e38, np.inf, -np.inf])
def test_rounding_down_takes_the_float_below_wherever_the_nearest_lies_above(values: list[float]) -> None:
    exact = np.array(values)
    with np.errstate(over="ignore"):
        nearest, down = exact.astype(np.float32), round_down(exact)
    below = np.nextafter(nearest, np.float32(-np.inf))
    np.testing.assert_array_equal(down, np.where(nearest > exact, below, nearest))
    assert (down <= exact).all()
