"""From pixels to the model's input: by hand, and exactly against rational numbers."""

from fractions import Fraction

import numpy as np
import pytest

from goodcert.bounds.ball import around_bytes, parse_epsilon
from goodcert.images import preprocess
from goodcert.images.decode import Decoded
from goodcert.images.errors import WrongSize
from goodcert.images.preprocess import ERROR, prepare


@pytest.fixture
def prepared(make_metadata):
    def prepare_it(pixels, epsilon="0", exact=True, **metadata):
        pixels = np.asarray(pixels)
        image = Decoded(pixels, "PNG", pixels.shape[1], pixels.shape[0], "", exact)
        return prepare(image, make_metadata(**metadata), parse_epsilon(epsilon))

    return prepare_it


def grey_exactly(pixel):
    red, green, blue = (int(channel) for channel in pixel)
    return Fraction(19595 * red + 38470 * green + 7471 * blue, 65536)


def area_exactly(values, target):
    """Means of `values`, a list of fractions, over `target` equal stretches, by exact overlap."""
    step = Fraction(len(values), target)
    return [
        sum(
            max(Fraction(0), min(step * (i + 1), Fraction(j + 1)) - max(step * i, Fraction(j))) * value
            for j, value in enumerate(values)
        )
        / step
        for i in range(target)
    ]


def bilinear_exactly(values, target):
    """Linear interpolation of `values` at half-pixel centres, clamped at the edges."""
    result = []
    for i in range(target):
        centre = (i + Fraction(1, 2)) * len(values) / target - Fraction(1, 2)
        centre = min(max(centre, Fraction(0)), Fraction(len(values) - 1))
        left = int(centre)
        right = min(left + 1, len(values) - 1)
        result.append(values[left] * (1 - centre + left) + values[right] * (centre - left))
    return result


EXACTLY = {"area": area_exactly, "bilinear": bilinear_exactly}


def resized_exactly(image, rule, height, width):
    """`image`: a list of rows of fractions."""
    wide = [EXACTLY[rule](row, width) for row in image]
    columns = [EXACTLY[rule](list(column), height) for column in zip(*wide, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def test_grey_bytes_of_the_right_size_go_the_fast_way(pixels, prepared):
    result = prepared(pixels, "0.1")
    expected = around_bytes(pixels[None], parse_epsilon("0.1"))
    for got, wanted in zip(result.ball.unfold(), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert result.scope == "upload"


def test_colour_becomes_channels_first(prepared):
    colour = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    ball = prepared(colour, color="rgb").ball.unfold()
    assert ball.point.shape == (3, 4, 6)
    np.testing.assert_array_equal(ball.point[1], (colour[..., 1] / 255).astype(np.float32))


def test_a_grey_upload_is_the_same_in_all_channels_of_a_colour_model(pixels, prepared):
    ball = prepared(pixels, "0.1", color="rgb").ball.unfold()
    for array in ball:
        assert array.shape == (3, 4, 6)
        np.testing.assert_array_equal(array[0], array[2])


def test_white_stays_white_and_black_black_in_grey(prepared):
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[0] = 255
    point = prepared(colour).ball.point
    np.testing.assert_array_equal(point[0, 0], 1)
    np.testing.assert_array_equal(point[0, 1:], 0)


def test_area_means_whole_blocks(prepared):
    pixels = np.array([[0, 255, 255, 255], [0, 255, 0, 0]], np.uint8)
    point = prepared(pixels, resize="area", height=1, width=2).ball.point
    np.testing.assert_array_equal(point, [[[0.5, 0.5]]])


def test_bilinear_interpolates_between_centres(prepared):
    point = prepared(np.array([[0, 255]], np.uint8), resize="bilinear", height=1, width=4).ball.point
    np.testing.assert_array_equal(point, [[[0, 0.25, 0.75, 1]]])


def test_a_wrong_size_is_refused_where_nothing_is_resized(prepared):
    with pytest.raises(WrongSize):
        prepared(np.zeros((5, 5), np.uint8))


def test_what_is_not_the_files_own_pixels_covers_the_model_input_only(pixels, prepared):
    assert prepared(pixels, exact=False).scope == "model_input"


def test_deep_grey_is_scaled_by_its_own_maximum(prepared):
    deep = np.full((4, 6), 65535, np.uint16)
    np.testing.assert_array_equal(prepared(deep).ball.point, 1)


@pytest.mark.parametrize("rule", ["area", "bilinear"])
@pytest.mark.parametrize("sizes", [((5, 7), (3, 2)), ((2, 3), (5, 4)), ((3, 3), (3, 2)), ((1, 1), (2, 3))])
@pytest.mark.parametrize("kind", ["grey", "deep", "colour"])
def test_no_perturbed_upload_leaves_the_box(prepared, rule, sizes, kind):
    """In exact rationals: every pixel moved by at most epsilon, extreme moves included, within [0, 1]."""
    (height, width), (out_height, out_width) = sizes
    rng = np.random.default_rng(height * 10 + out_width)
    shape = (height, width, 3) if kind == "colour" else (height, width)
    pixels = rng.integers(0, 2**16 if kind == "deep" else 2**8, shape).astype("u2" if kind == "deep" else "u1")
    scale = int(np.iinfo(pixels.dtype).max)
    epsilon = Fraction("0.03")
    ball = prepared(pixels, "0.03", resize=rule, height=out_height, width=out_width).ball
    for moves in [np.ones(shape, int), -np.ones(shape, int), *rng.integers(-3, 4, (4, *shape))]:
        moved = [
            [_grey(pixels[i, j], moves[i, j] * epsilon / int(abs(moves).max()), scale, kind) for j in range(width)]
            for i in range(height)
        ]
        for got in _entries(resized_exactly(moved, rule, out_height, out_width), ball):
            value, lower, upper = got
            assert Fraction(float(lower)) <= value <= Fraction(float(upper))


def _grey(pixel, moves, scale, kind):
    channels = np.atleast_1d(pixel)
    shifted = [
        min(max(Fraction(int(c), scale) + Fraction(m), Fraction(0)), Fraction(1))
        for c, m in zip(channels, np.broadcast_to(moves, channels.shape), strict=True)
    ]
    if kind != "colour":
        return shifted[0]
    return (19595 * shifted[0] + 38470 * shifted[1] + 7471 * shifted[2]) / 65536


def _entries(exact, ball):
    for i, row in enumerate(exact):
        for j, value in enumerate(row):
            yield value, ball.lower[0, i, j], ball.upper[0, i, j]


@pytest.mark.parametrize("rule", ["area", "bilinear"])
def test_values_err_by_no_more_than_the_stated_margin(make_metadata, rule):
    from goodcert.images.preprocess import _values

    colour = np.random.default_rng(5).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    image = Decoded(colour, "PNG", 5, 7, "", True)
    got = _values(image, make_metadata(resize=rule, height=3, width=4))
    exact = resized_exactly([[grey_exactly(p) / 255 for p in row] for row in colour], rule, 3, 4)
    errors = [abs(Fraction(float(got[0, i, j])) - exact[i][j]) for i in range(3) for j in range(4)]
    assert max(errors) <= Fraction(ERROR)


@pytest.mark.parametrize("color", ["grey", "rgb"])
def test_a_large_image_is_resized_in_blocks_to_the_same_bits(prepared, monkeypatch, color):
    pixels = np.random.default_rng(8).integers(0, 256, (37, 23, 3), dtype=np.uint8)
    whole = prepared(pixels, color=color, resize="area")
    monkeypatch.setattr(preprocess, "_BLOCK_PIXELS", 50)
    in_blocks = prepared(pixels, color=color, resize="area")
    for one, other in zip(whole.ball, in_blocks.ball, strict=True):
        np.testing.assert_array_equal(one, other)
