"""How far float32 kernels lie from the functions that they are named for.

All float32 numbers have a place in their order as real numbers, so that a function which never decreases must not
fall from one to the next.
"""

from dataclasses import dataclass
from typing import TypeAlias

import mpmath
import numpy as np
from numpy.typing import NDArray

from goodcert.bounds.rounding import MAX_MAGNITUDE
from goodcert.evaluation.functions import Array, Deployed

COUNT = 2**32

REFERENCE = 2.0**-20
"""The share of its allowance that every error is taken for more, for that of the float64 values."""

Numbers: TypeAlias = NDArray[np.float64]
Order: TypeAlias = NDArray[np.int64]


def numbers(order: Order) -> Array:
    """The float32 numbers with these places among all: NaN, -infinity, ..., -0, 0, ..., infinity, NaN."""
    bits = order.astype(np.uint32)
    flipped = (bits >> 31) - np.uint32(1) | np.uint32(2**31)  # all bits of the negative, the sign of the others
    return (bits ^ flipped).view(np.float32)


def places(x: Array) -> Order:
    """The inverse of `numbers`."""
    bits = x.view(np.uint32).astype(np.int64)
    return np.where(bits >= COUNT // 2, COUNT - 1 - bits, bits + COUNT // 2)


def order_of(function: Deployed, stride: int) -> range:
    """The places of the inputs to try."""
    return range(COUNT // 2 if function.positive else 0, COUNT, stride)


@dataclass(frozen=True)
class Tally:
    """What was seen of a kernel, at inputs and values up to 2^70 in size; beyond, nothing is certified.

    share: the largest error as a share of the allowance, at the input `worst`. ulp: the largest in units in the
    last place of f(x), or of 2^-100 where that is larger. rest: the largest part of an error that the relative
    part of the allowance leaves. falls: of a function that never decreases, how many results are below the one
    before. misrounded: of a root or quotient, how many are not it rounded to nearest. beyond: as `share`, where x
    or f(x) is larger.
    """

    inputs: int = 0
    share: float = 0.0
    worst: float = 0.0
    ulp: float = 0.0
    rest: float = 0.0
    falls: int = 0
    misrounded: int = 0
    beyond: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        worse = self if self.share >= other.share else other
        return Tally(
            self.inputs + other.inputs,
            worse.share,
            worse.worst,
            max(self.ulp, other.ulp),
            max(self.rest, other.rest),
            self.falls + other.falls,
            self.misrounded + other.misrounded,
            max(self.beyond, other.beyond),
        )


@dataclass(frozen=True)
class Truth:
    """f at those inputs of a vector that lie in `zone`: x, f(x), the allowance with its part that is
    relative to f(x), and the unit in the last place."""

    function: Deployed
    zone: NDArray[np.bool_] | slice
    x: Array
    value: Numbers
    relative: Numbers
    allowance: Numbers
    unit: NDArray[np.float32]

    @classmethod
    def at(cls, zone: NDArray[np.bool_], function: Deployed, x: Array, value: Numbers) -> "Truth":
        where = slice(None) if zone.all() else zone
        x, value = x[where], value[where]
        relative = abs(value)
        unit = np.maximum(relative.astype(np.float32), np.float32(2.0**-100)).view(np.uint32)
        unit &= np.uint32(0xFF800000)
        relative *= function.relative
        return cls(function, where, x, value, relative, relative + function.beside(x), unit.view(np.float32))

    def errors(self, made: Array) -> tuple[Numbers, Numbers]:
        """(errors, shares of the allowance) of the results for the whole vector. NaN is infinitely wrong."""
        error = self.value - made[self.zone]
        np.abs(error, out=error)
        shares = error / self.allowance
        shares += REFERENCE
        if np.isnan(shares.max(initial=0)):
            error[np.isnan(error)] = shares[np.isnan(shares)] = np.inf
        return error, shares

    def tally(self, made: Array) -> tuple[Tally, Numbers]:
        """Without the count of inputs; and the shares."""
        error, shares = self.errors(made)
        if not len(error):
            return Tally(), shares
        worst, made = int(shares.argmax()), made[self.zone]
        return Tally(
            share=float(shares[worst]),
            worst=float(self.x[worst]),
            ulp=float((error / self.unit).max()) * 2.0**23,
            rest=max(float((error - self.relative).max()), 0.0),
            falls=int(np.count_nonzero(made[1:] < made[:-1])) if self.function.increasing else 0,
            misrounded=self._misrounded(made),
        ), shares

    def _misrounded(self, made: Array) -> int:
        """The nearest float32 of the nearest float64 of a quotient or a root is the nearest float32."""
        if not self.function.algebraic:
            return 0
        return int(np.count_nonzero(made != self.value.astype(np.float32)))


def truths(function: Deployed, x: Array) -> tuple[Truth, Truth]:
    """Where certificates reach, and beyond, as far as x and f(x) are finite float32 numbers."""
    with np.errstate(all="ignore"):
        value = function.reference(x)
        inside = (abs(x) <= MAX_MAGNITUDE) & (abs(value) <= MAX_MAGNITUDE)
        beyond = ~inside & np.isfinite(x) & (abs(value) < np.finfo(np.float32).max)
        return Truth.at(inside, function, x, value), Truth.at(beyond, function, x, value)


def reference_error(function: Deployed, x: Array) -> float:
    """The largest error of the float64 values there, as a share of the allowance."""
    inside, _ = truths(function, x)
    with mpmath.workdps(40):
        operands = (map(mpmath.mpf, map(float, operand)) for operand in function.operands(inside.x))
        errors = [
            abs(function.true(*numbers) - mpmath.mpf(float(value)))
            for *numbers, value in zip(*operands, inside.value, strict=True)
        ]
        shares = [error / float(room) for error, room in zip(errors, inside.allowance, strict=True)]
        return float(max(shares, default=0))


def spread(function: Deployed, count: int) -> Array:
    """So many inputs from everywhere."""
    order = order_of(function, 1)
    return numbers(np.linspace(order.start, order.stop - 1, count).astype(np.int64))
