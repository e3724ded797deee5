"""Eq. 3 and 5 in integers: by hand on the smallest networks, by fractions on random ones."""

from fractions import Fraction

import numpy as np
import pytest

from chains import differences as by_hand
from chains import random_chain, told
from goodcert.checker.model import AffineLayer, Footprint, NotCheckable, read_chain
from goodcert.checker.propagation import IntegerBox, ball, differences


def layer(weight: object, bias: object, footprint: Footprint | None = None, relu: bool = False) -> AffineLayer:
    return AffineLayer(np.array(weight, np.float32), np.array(bias, np.float32), "Gemm", footprint, relu)


def fractions(bounds: np.ndarray, scale: int) -> list[list[Fraction]]:
    return [[Fraction(number, scale) for number in row] for row in bounds]


def whole(lower: list[int], upper: list[int]) -> IntegerBox:
    return IntegerBox(
        np.array(lower, dtype=object)[:, None, None], np.array(upper, dtype=object)[:, None, None], 1
    )


def test_the_ball_is_cut_at_black_and_white_and_has_no_rounding() -> None:
    lower, upper, scale = ball(np.array([[0, 51, 250]], np.uint8), 1, Fraction("0.1"))
    ends = [[Fraction(number, scale) for number in box.ravel()] for box in (lower, upper)]
    assert ends[0] == [0, Fraction(1, 5) - Fraction(1, 10), Fraction(250, 255) - Fraction(1, 10)]
    assert ends[1] == [Fraction(1, 10), Fraction(3, 10), 1]


def test_colours_are_made_one_grey_and_grey_is_its_own_colour() -> None:
    pixel = np.array([[[1, 2, 3]]], np.uint8)
    lower, upper, scale = ball(pixel, 1, Fraction(0))
    assert Fraction(lower.item(), scale) == Fraction(19595 + 2 * 38470 + 3 * 7471, 255 * 65536)
    assert lower.item() == upper.item()
    assert ball(pixel, 3, Fraction(0)).lower.ravel().tolist() == [1, 2, 3]
    assert ball(pixel[..., 0], 3, Fraction(0)).lower.ravel().tolist() == [1, 1, 1]


def test_two_layers_by_hand() -> None:
    # z = relu(x1 - x2 / 2 + 1 / 4) of x1 in [0, 2], x2 in [1, 3]: in [0, 7 / 4];
    # the logits z and 3 z - 1 differ by 1 - 2 z, in [-5 / 2, 1].
    layers = [layer([[1, -0.5]], [0.25], relu=True), layer([[1], [3]], [0, -1])]
    bounds = fractions(*differences(whole([0, 1], [2, 3]), layers))
    assert bounds == [[0, 1], [Fraction(5, 2), 0]]


def test_what_two_logits_share_is_paid_once() -> None:
    bounds = fractions(*differences(whole([0], [1000]), [layer([[7], [7]], [0, 1])]))
    assert bounds == [[0, -1], [1, 0]]


def test_a_convolution_by_hand() -> None:
    # A row 1 2 3 between zeros under (1, 10) with stride 2: 0 + 10, 2 + 30.
    box = IntegerBox(*(np.array([[[1, 2, 3]]], dtype=object),) * 2, 1)
    sees = Footprint((1, 2), (1, 2), (1, 1), (0, 1, 0, 0))
    layers = [layer([[1, 10]], [0], sees), layer([[1, 0], [0, 1]], [0, 0])]
    assert fractions(*differences(box, layers)) == [[0, 10 - 32], [32 - 10, 0]]


def test_subnormal_and_huge_weights_keep_every_digit() -> None:
    tiny, huge = 2.0**-149, 2.0**127
    bounds = fractions(*differences(whole([1, 1], [1, 1]), [layer([[tiny, huge], [0, 0]], [0, 0])]))
    assert bounds[0][1] == Fraction(2) ** 127 + Fraction(1, 2**149)


def test_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(NotCheckable, match="does not fit"):
        differences(whole([1], [1]), [layer([[1, 2], [3, 4]], [0, 0])])
    with pytest.raises(NotCheckable, match="larger than its input"):
        differences(whole([1], [1]), [layer([[1] * 4], [0], Footprint((2, 2), (1, 1), (1, 1), (0, 0, 0, 1)))] * 2)


@pytest.mark.parametrize("seed", range(12))
def test_random_chains_agree_with_fractions_to_the_last_digit(seed: int) -> None:
    model, matrices = random_chain(seed)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 7), dtype=np.uint8)
    epsilon = Fraction(seed, 37)
    shape, layers = read_chain(told(model))
    found = fractions(*differences(ball(pixels, shape[0], epsilon), layers))
    assert found == by_hand(matrices, pixels, epsilon).tolist()
