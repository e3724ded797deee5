"""Every input of a kernel, in every place of a vector.

A block of inputs is one call of a kernel. Its length leaves 15, 7 or 3 values over for registers of 16, 8 or 4;
these are repeated at the start of the next block, so that every input is seen in a register. A share of the
inputs, and all that lie beside the worst, are seen in every place, and among those left over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from goodcert.evaluation.accuracy import COUNT, Numbers, Tally, numbers, order_of, places, truths
from goodcert.evaluation.functions import Array, Deployed
from goodcert.evaluation.kernels import ROW, Kernel

BLOCK, REPEATED = 2**16, 15
PLACES = 64
"""In the registers of loops that handle four of 16 values at once."""

_VECTOR = 2048 * ROW
"""Values that are moved together: they stay in the caches."""

SHARE = 997
"""Every so many-th input is tried in every place: a prime, so that all their last bits occur."""

WORST = 10_000
NEIGHBOURS, BESIDE = 1_000, 8
"""Beside how many of the worst neighbours are tried in every place, and how many on each side."""


@dataclass(frozen=True)
class Worst:
    """The inputs with the largest shares, at most `WORST`."""

    x: Array
    share: Numbers

    @classmethod
    def none(cls) -> "Worst":
        return cls(np.zeros(0, np.float32), np.zeros(0))

    def joined(self, x: Array, share: Numbers) -> "Worst":
        new = share > (self.share.min() if len(self.share) == WORST else -1.0)
        if not new.any():
            return self
        x, share = np.concatenate([self.x, x[new]]), np.concatenate([self.share, share[new]])
        kept = np.argpartition(-share, WORST)[:WORST] if len(share) > WORST else slice(None)
        return Worst(x[kept], share[kept])


@dataclass(frozen=True)
class Sweep:
    """How far the inputs have been tried, and what was seen of each kernel. done: inputs, of `order_of`."""

    done: int
    tallies: tuple[Tally, ...]
    worst: tuple[Worst, ...]

    @classmethod
    def start(cls, count: int) -> "Sweep":
        return cls(0, (Tally(),) * count, (Worst.none(),) * count)


def sweep(function: Deployed, kernels: tuple[Kernel, ...], stride: int, so_far: Sweep) -> Iterator[Sweep]:
    """One step, a block, after the other, from where it was left."""
    order = order_of(function, stride)
    for first in range(so_far.done, len(order), BLOCK):
        end = min(first + BLOCK, len(order))
        block = np.minimum(np.arange(first, first + BLOCK + REPEATED), len(order) - 1)
        x = numbers(block * stride + order.start)
        inside, beyond = truths(function, x)
        tallies, worst = [], []
        for kernel, tally, before in zip(kernels, so_far.tallies, so_far.worst, strict=True):
            made = kernel.whole(x)
            new, shares = inside.tally(made)
            further = float(beyond.errors(made)[1].max(initial=0))
            tallies.append(tally + replace(new, inputs=end - first, beyond=further))
            worst.append(before.joined(inside.x, shares))
        so_far = Sweep(end, tuple(tallies), tuple(worst))
        yield so_far


# --- every place --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """inputs: how many were tried in every place. differing: results that were not those of the first place.
    share: the largest share of the allowance among all."""

    inputs: int
    differing: int
    share: float


def every_place(function: Deployed, kernel: Kernel, worst: Array, stride: int = SHARE) -> Places:
    """Every so many-th input, and the neighbours of the worst, in all places of a vector, and among those left."""
    x = np.concatenate([numbers(np.array(order_of(function, stride))), neighbours(worst)])
    parts = [_placed(function, kernel, x[start : start + _VECTOR]) for start in range(0, len(x), _VECTOR)]
    return Places(len(x), sum(part.differing for part in parts), max(part.share for part in parts))


def _placed(function: Deployed, kernel: Kernel, x: Array) -> Places:
    """Of a vector, whose values are moved on by one place after the other."""
    x = np.resize(x, -(-len(x) // ROW) * ROW)  # repeats the first, to fill the last row
    first = kernel.whole(x)
    inside, _ = truths(function, x)
    share, differing = float(inside.errors(first)[1].max(initial=0)), 0
    for made in _moved(kernel, x):
        other = np.flatnonzero(made != first)
        other = other[~(np.isnan(made[other]) & np.isnan(first[other]))]
        if len(other):
            here, _ = truths(function, x[other])
            share = max(share, float(here.errors(made[other])[1].max(initial=0)))
            differing += len(other)
    return Places(len(x), differing, share)


def neighbours(worst: Array) -> Array:
    beside = places(worst)[:, None] + np.arange(-BESIDE, BESIDE + 1)
    return numbers(np.unique(beside.clip(0, COUNT - 1)))


def _moved(kernel: Kernel, x: Array) -> Iterator[Array]:
    """The results for x, computed with every value moved on by one place after the other."""
    for shift in range(PLACES):
        yield np.roll(kernel.whole(np.roll(x, shift)), -shift)
    for shift in range(ROW):
        yield np.roll(kernel.rows(np.roll(x, shift).reshape(-1, ROW)).ravel(), -shift)
