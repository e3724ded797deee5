"""The l-infinity ball around an image, rounded outward to float32.

A pixel k/255, epsilon and g(x) are real numbers that float arithmetic only approximates. The box handed
to the bound engine must contain the true ball, and also every float32 rounding of its points: both hold
when the ends of the box are float32 numbers on the outer side of the true ends, because rounding to
float32 is monotone.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import inf, nextafter
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Covers the float64 roundings of k/255, x - epsilon and x + epsilon (each below 2^-53, as all values are
# at most 2) and that of an epsilon given as the float64 nearest to a decimal (below 2^-54).
SLACK = 2.0**-50

_DECIMAL = re.compile(r"(\d+\.?\d*|\.\d+)", re.ASCII)


class Ball(NamedTuple):
    """float32 arrays of one shape, (C, H, W) or (N, C, H, W), in [0, 1], with lower <= point <= upper.

    point: the image as the deployed model sees it. lower, upper: the box that is certified.
    """

    point: NDArray[np.float32]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]


class ByteBall(NamedTuple):
    """The ball around an image of bytes that is not looked up yet: an eighth of its memory, and many at once are
    looked up faster. pixels: uint8 (C, H, W)."""

    pixels: NDArray[np.uint8]
    epsilon: float

    def unfold(self) -> Ball:
        return around_bytes(self.pixels, self.epsilon)


def parse_epsilon(text: str) -> float:
    """The smallest float64 at or above the decimal `text`, which must lie in [0, 1].

    Raises ValueError for anything but plain ASCII decimal digits with at most one point.
    """
    if len(text) > 64 or not _DECIMAL.fullmatch(text):
        raise ValueError(f"epsilon: got {text[:64]!r}, expected one decimal number in [0, 1], such as 0.3")
    exact, nearest = Fraction(text), float(text)
    if exact > 1:
        raise ValueError(f"epsilon: got {text}, expected at most 1 (pixels are in [0, 1])")
    return nearest if Fraction(nearest) >= exact else nextafter(nearest, inf)


def around_reals(values: NDArray[np.float64], epsilon: ArrayLike, error: float = 0.0) -> Ball:
    """The ball around real pixels known to within `error`; `epsilon` broadcasts against `values`."""
    reach = np.asarray(epsilon, dtype=np.float64) + (error + SLACK)
    return Ball(
        np.clip(values, 0, 1).astype(np.float32),
        round_down(np.clip(values - reach, 0, 1)),
        round_up(np.clip(values + reach, 0, 1)),
    )


def around_bytes(pixels: NDArray[np.uint8], epsilon: float) -> Ball:
    """The ball around pixels k/255, one epsilon for all."""
    return Ball(*(array[0] for array in unfold([ByteBall(pixels, epsilon)])))


def unfold(balls: Sequence[ByteBall]) -> Ball:
    """The balls of images of one shape as a batch, each with its own epsilon: three table look-ups."""
    tables = {ball.epsilon: _byte_table(ball.epsilon) for ball in balls}
    starts = {epsilon: 256 * place for place, epsilon in enumerate(tables)}
    shape = balls[0].pixels.shape
    pixels = np.concatenate([ball.pixels for ball in balls]).reshape(len(balls), -1)
    places = pixels + np.array([starts[ball.epsilon] for ball in balls])[:, None]
    columns = (np.concatenate(arrays) for arrays in zip(*tables.values(), strict=True))
    # Every place is inside its table; "clip" only spares the look.
    return Ball(*(column.take(places, mode="clip").reshape(-1, *shape) for column in columns))


@lru_cache(maxsize=256)
def _byte_table(epsilon: float) -> Ball:
    return around_reals(np.arange(256) / 255, epsilon)


def around(images: NDArray[np.float32] | NDArray[np.uint8], epsilon: ArrayLike) -> Ball:
    """The balls around a batch (N, C, H, W): uint8 means k/255, float32 means itself.

    epsilon: a number or (N,), in [0, 1]. Raises ValueError for another dtype, pixels outside [0, 1],
    or an epsilon outside [0, 1].
    """
    radius = np.asarray(epsilon, dtype=np.float64)
    if not np.all((radius >= 0) & (radius <= 1)):  # also refuses NaN
        raise ValueError(f"epsilon: got {epsilon!r}, expected numbers in [0, 1]")
    radius = np.broadcast_to(radius, images.shape[:1]).reshape(-1, *[1] * (images.ndim - 1))
    if images.dtype == np.uint8:
        return around_reals(images / 255, radius)
    if images.dtype != np.float32:
        raise ValueError(f"images: got dtype {images.dtype}, expected float32 in [0, 1] or uint8")
    if not np.all((images >= 0) & (images <= 1)):
        raise ValueError("images: got pixels outside [0, 1], expected float32 pixels in [0, 1]")
    return around_reals(images.astype(np.float64), radius)


def round_down(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 at or below each value."""
    nearest = values.astype(np.float32)
    bits = nearest.view(np.int32)
    # Bits count away from zero, on both sides of it. Nothing is below -inf, and a value below 0 never becomes +0.
    # So this is nextafter, at a third of its cost.
    step = np.where(bits < 0, np.int32(1), np.int32(-1))
    below: NDArray[np.float32] = (bits + step * (nearest > values)).view(np.float32)
    return below


def round_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The smallest float32 at or above each value."""
    return -round_down(-values)
