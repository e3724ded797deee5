"""From decoded pixels to the ball that the engine certifies.

`g`, the way from the upload to the model's input, is a convex combination of pixels: grey conversion
with the weights 19595, 38470 and 7471 over 65536, and resizing with row-stochastic matrices. Hence
|g(x') - g(x)| <= epsilon whenever |x' - x| <= epsilon in every pixel, and a certificate for the ball
around g(x) holds for the ball around x.

**Rounding.** All weights are integers over a common denominator, and so are the pixels. A value of g is
therefore an integer N over an integer D: N is a sum of products of integers whose partial sums are at
most D, in any order. Every D below 2^53 is exact in float64, and so is N; `_denominator` refuses others.
What remains is the one division N / D, whose result is at most 1 and errs by at most 2^-53: `ERROR`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from goodcert.artifact import Metadata
from goodcert.bounds.ball import Ball, ByteBall, around_reals
from goodcert.images.decode import Decoded
from goodcert.images.errors import WrongSize

GREY_WEIGHTS = np.array([19595, 38470, 7471], dtype=np.float64)
GREY_SCALE = 65536
ERROR = 2.0**-53
_EXACT = 2**53
_BLOCK_PIXELS = 2**18
_KEPT_SIDE = 512

T = TypeVar("T", bound=np.generic)

Scope = Literal["upload", "model_input"]


class Prepared(NamedTuple):
    """One image as the engine takes it: the ball, (C, H, W), and what its certificate covers."""

    ball: Ball | ByteBall
    scope: Scope

    @property
    def size_bytes(self) -> int:
        """What it holds while it waits."""
        ball = self.ball
        return ball.pixels.nbytes if isinstance(ball, ByteBall) else sum(array.nbytes for array in ball)

    def alone(self) -> Ball:
        """The ball as a batch of one, (1, C, H, W)."""
        ball = self.ball.unfold() if isinstance(self.ball, ByteBall) else self.ball
        return Ball(*(array[None] for array in ball))


def prepare(image: Decoded, metadata: Metadata, epsilon: float) -> Prepared:
    """The ball of radius `epsilon`, in [0, 1], around `image` at the model's input. Raises WrongSize."""
    return balls(image, metadata)(epsilon)


def balls(image: Decoded, metadata: Metadata) -> Callable[[float], Prepared]:
    """From epsilon, in [0, 1], to the ball around `image` at the model's input, resized once. Raises WrongSize."""
    resized = (image.height, image.width) != (metadata.height, metadata.width)
    if resized and metadata.resize == "none":
        raise WrongSize(f"got {image.width}x{image.height}, expected {metadata.width}x{metadata.height}")
    scope: Scope = "upload" if image.exact else "model_input"
    mixes = image.pixels.ndim == 3 and metadata.color == "grey"
    if image.pixels.dtype == np.uint8 and not resized and not mixes:
        pixels = _with_channels(_planes(image.pixels.astype(np.uint8, copy=False)), metadata.channels)
        return lambda epsilon: Prepared(ByteBall(pixels, epsilon), scope)
    values = _with_channels(_values(image, metadata), metadata.channels)
    return lambda epsilon: Prepared(around_reals(values, epsilon, ERROR), scope)


def _planes(pixels: NDArray[T]) -> NDArray[T]:
    """(H, W) or (H, W, 3) to (1, H, W) or (3, H, W)."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _with_channels(planes: NDArray[T], channels: int) -> NDArray[T]:
    """A grey image for a colour model is the same grey in all its channels."""
    return planes if len(planes) == channels else np.broadcast_to(planes, (channels, *planes.shape[1:]))


def _values(image: Decoded, metadata: Metadata) -> NDArray[np.float64]:
    """g of the image, (1 or 3, H, W) in [0, 1], each value within `ERROR` of its exact value."""
    mixes = image.pixels.ndim == 3 and metadata.color == "grey"
    scale = int(np.iinfo(image.pixels.dtype).max) * (GREY_SCALE if mixes else 1)
    if (image.height, image.width) == (metadata.height, metadata.width):
        planes = _reals(image.pixels, mixes)
    else:
        rows = _weights(metadata.resize, image.height, metadata.height)
        columns = _weights(metadata.resize, image.width, metadata.width)
        scale *= int(rows[0].sum()) * int(columns[0].sum())
        planes = _by_rows(image.pixels, rows, mixes) @ columns.T
    result: NDArray[np.float64] = planes / _denominator(scale)
    return result


def _by_rows(pixels: NDArray[T], rows: NDArray[np.float64], mixes: bool) -> NDArray[np.float64]:
    """Resized along the first axis, (1 or 3, target, W), a block at a time: a large image in float64 would take
    eight times its memory, and the sums of integers are the same in any order."""
    height, width = pixels.shape[:2]
    step = max(1, _BLOCK_PIXELS // width)
    planes = np.zeros((1 if mixes or pixels.ndim == 2 else 3, len(rows), width))
    for start in range(0, height, step):
        block = np.ascontiguousarray(_reals(pixels[start : start + step], mixes))
        planes += rows[:, start : start + step] @ block
    return planes


def _reals(pixels: NDArray[T], mixes: bool) -> NDArray[np.float64]:
    """The pixels as planes, (1 or 3, H, W), or as one grey plane of sums over `GREY_SCALE`."""
    whole = pixels.astype(np.float64)
    return _planes(whole @ GREY_WEIGHTS if mixes else whole)


def _denominator(scale: int) -> int:
    if scale >= _EXACT:
        raise WrongSize(f"a resize with denominator {scale} is not exact in float64, expected below 2^53")
    return scale


def _weights(rule: str, source: int, target: int) -> NDArray[np.float64]:
    """Resize weights along one axis, (target, source): integers >= 0, every row of the same sum."""
    return _kept_weights(rule, source, target) if source <= _KEPT_SIDE else _new_weights(rule, source, target)


def _new_weights(rule: str, source: int, target: int) -> NDArray[np.float64]:
    return _area(source, target) if rule == "area" else _bilinear(source, target)


# Those of large images take more memory than they save time.
_kept_weights = lru_cache(maxsize=32)(_new_weights)


def _area(source: int, target: int) -> NDArray[np.float64]:
    """Overlaps of target pixel [i s, (i+1) s], s = source / target, with source pixel [j, j+1], times target.

    Every row sums to `source`.
    """
    i, j = np.arange(target)[:, None], np.arange(source)
    overlap = np.minimum((i + 1) * source, (j + 1) * target) - np.maximum(i * source, j * target)
    weights: NDArray[np.float64] = np.maximum(overlap, 0).astype(np.float64)
    return weights


def _bilinear(source: int, target: int) -> NDArray[np.float64]:
    """Linear interpolation between the two nearest half-pixel centres, clamped at the edges, times 2 target.

    Target centre i lies at ((2 i + 1) source - target) / (2 target) in source pixels. Every row sums to
    2 `target`.
    """
    i = np.arange(target)
    centre = np.clip((2 * i + 1) * source - target, 0, 2 * target * (source - 1))
    left, part = np.divmod(centre, 2 * target)
    weights = np.zeros((target, source))
    weights[i, left] += 2 * target - part
    weights[i, np.minimum(left + 1, source - 1)] += part
    return weights
