"""Values to feed to single operators, on which a wrong meaning shows that random images would hide.

A network may silence what tells two meanings of an operator apart: behind a ReLU that is 0 on every random image,
or a maximum with something larger. So operators are fed directly, every one with values of these kinds:

- every element another number, so that an element that is read from a wrong place shows, and the same negated;
- such numbers spread over what the value can be for images in the pixel cube, for operators without a value
  elsewhere (a logarithm, a quotient);
- corners of that range, and their mirror image, so that what saturates saturates on either side;
- numbers too large, and too small to be normal, for the range;
- a constant.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from goodcert.bounds.interval import Interval

LARGE = 2.0**12
SUBNORMAL = 2.0**-149

Array = NDArray[Any]
"""float32."""


def witnesses(shape: tuple[int, ...], rounds: int, reachable: Interval, seed: int) -> list[Array]:
    """`rounds` arrays of this shape (N, ...), float32, in whose rows the kinds come one after the other.
    reachable: the box (1, ...) of the value for images in the pixel cube; kinds that keep to it come first."""
    random = np.random.default_rng(seed)
    low, high = _ends(reachable, shape[1:])
    rows = [_KINDS[i % len(_KINDS)](low, high, random) for i in range(shape[0] * rounds)]
    return [np.stack(rows[i * shape[0] : (i + 1) * shape[0]]).astype(np.float32) for i in range(rounds)]


def _ends(box: Interval, shape: tuple[int, ...]) -> tuple[Array, Array]:
    low, high = (
        torch.nan_to_num(end[0], nan=bound, posinf=LARGE, neginf=-LARGE).expand(shape).numpy()
        for end, bound in ((box.lower, -LARGE), (box.upper, LARGE))
    )
    return np.clip(low, -(2.0**40), 2.0**40), np.clip(high, -(2.0**40), 2.0**40)


def _places(low: Array) -> Array:
    """Another share in (0, 1) for every element."""
    count = prod(low.shape)
    return ((np.arange(count, dtype=np.float64) + 0.5) / max(count, 1)).reshape(low.shape).astype(np.float32)


def _spread(low: Array, high: Array, random: np.random.Generator) -> Array:
    shares: Array = random.permutation(_places(low).reshape(-1)).reshape(low.shape)
    spread: Array = np.clip(low + (high - low) * shares, low, high)
    return spread


def _corners(low: Array, high: Array, random: np.random.Generator) -> Array:
    return np.where(random.random(low.shape) < 0.5, low, high)


def _coded(low: Array, high: Array, random: np.random.Generator) -> Array:
    return 2 * _places(low) - 1


def _negated(low: Array, high: Array, random: np.random.Generator) -> Array:
    return -2 * _coded(low, high, random)


def _large(low: Array, high: Array, random: np.random.Generator) -> Array:
    coded: Array = random.permutation(_coded(low, high, random).reshape(-1)).reshape(low.shape)
    return LARGE * coded


def _small(low: Array, high: Array, random: np.random.Generator) -> Array:
    """Subnormal numbers of both signs, some of them zero."""
    return random.integers(-9, 10, low.shape).astype(np.float32) * np.float32(SUBNORMAL)


def _mirrored(low: Array, high: Array, random: np.random.Generator) -> Array:
    """One end on the first half of the elements, the other end on the rest."""
    return np.where(_places(low) < 0.5, low, high)


def _constant(low: Array, high: Array, random: np.random.Generator) -> Array:
    return np.full_like(low, np.float32((low.min(initial=0) + high.max(initial=0)) / 2))


_KINDS: tuple[Callable[[Array, Array, np.random.Generator], Array], ...] = (
    _spread, _corners, _coded, _negated, _mirrored, _constant, _large, _small,
)  # fmt: skip

KINDS = len(_KINDS)
