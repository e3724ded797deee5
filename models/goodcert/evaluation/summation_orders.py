"""Twelve orders in which a runtime may sum up a dense layer in float32, each with and without fused multiply-add.

All of them are one scheme: the products are arranged, dealt out to lanes, summed lane by lane one after the
other, and the lanes are added in pairs. One lane is a plain loop, eight are a vector register, half as many as
products are pairwise summation.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Arrange: TypeAlias = Callable[[Array], NDArray[np.intp]]
"""From products (..., F) to the order in which they are summed, of the same shape or (F,)."""


class Order(NamedTuple):
    """lanes: None for half as many as there are products. bias_first: the first lane starts with the bias, else
    it is added to the sum."""

    arrange: Arrange
    lanes: int | None = 1
    bias_first: bool = True


def _as_they_are(products: Array) -> NDArray[np.intp]:
    return np.arange(products.shape[-1])


def _reversed(products: Array) -> NDArray[np.intp]:
    return np.arange(products.shape[-1])[::-1]


def _shuffled(products: Array) -> NDArray[np.intp]:
    """The same way every time."""
    return np.random.default_rng(0).permutation(products.shape[-1])


def _ascending(products: Array) -> NDArray[np.intp]:
    return np.argsort(abs(products), axis=-1)


def _descending(products: Array) -> NDArray[np.intp]:
    return np.argsort(-abs(products), axis=-1)


def _positive_first(products: Array) -> NDArray[np.intp]:
    return np.argsort(products < 0, axis=-1, kind="stable")


ORDERS: dict[str, Order] = {
    "sequential, bias first": Order(_as_they_are),
    "sequential, bias last": Order(_as_they_are, bias_first=False),
    "reversed": Order(_reversed),
    "pairwise": Order(_as_they_are, lanes=None, bias_first=False),
    "4 lanes": Order(_as_they_are, lanes=4),
    "8 lanes": Order(_as_they_are, lanes=8, bias_first=False),
    "16 lanes": Order(_as_they_are, lanes=16),
    "32 lanes": Order(_as_they_are, lanes=32, bias_first=False),
    "smallest first": Order(_ascending),
    "largest first": Order(_descending, bias_first=False),
    "positive first": Order(_positive_first),
    "shuffled": Order(_shuffled, bias_first=False),
}


def dense(order: Order, fused: bool, weight: Array, bias: Array, x: Array) -> Array:
    """(N, O): weight (O, F) x + bias (O,) for inputs (N, F), every operation rounded to float32."""
    a, b = np.broadcast_to(weight, (len(x), *weight.shape)), np.broadcast_to(x[:, None], (len(x), *weight.shape))
    at = np.broadcast_to(order.arrange(a * b), a.shape)
    lanes = order.lanes or -(-weight.shape[1] // 2)
    a, b = (_dealt(np.take_along_axis(values, at, axis=-1), lanes) for values in (a, b))
    total = np.zeros(a.shape[1:], np.float32)
    if order.bias_first:
        total[0] = bias
    for factor, value in zip(a, b, strict=True):
        total = fused_multiply_add(factor, value, total) if fused else total + factor * value
    return _in_pairs(total) if order.bias_first else _in_pairs(total) + bias


def _dealt(values: Array, lanes: int) -> Array:
    """(..., F) to (steps, lanes, ...), filled up with zeros, which change no sum."""
    steps = -(-values.shape[-1] // lanes)
    fill = [(0, 0)] * (values.ndim - 1) + [(0, steps * lanes - values.shape[-1])]
    whole = np.pad(values, fill).reshape(*values.shape[:-1], steps, lanes)
    return np.ascontiguousarray(np.moveaxis(whole, (-2, -1), (0, 1)))


def _in_pairs(lanes: Array) -> Array:
    """(lanes, ...) to (...)."""
    while len(lanes) > 1:
        last = lanes[len(lanes) - len(lanes) % 2 :]
        lanes = np.concatenate([lanes[: len(lanes) // 2 * 2 : 2] + lanes[1::2], last])
    return np.asarray(lanes[0])


def fused_multiply_add(a: Array, b: Array, c: Array) -> Array:
    """a b + c, rounded once to float32 (finite, no overflow).

    The product of two float32 numbers is exact in float64. The sum is not, and rounding it to float64 and then
    to float32 would round twice. So it is rounded to odd first: TwoSum (Knuth) gives the exact error of the
    float64 sum; where there is one and the last bit of the sum is even, the sum moves one unit towards the exact
    value, whose neighbour on that side is odd. What is rounded to odd with at least two bits more than the target
    rounds to the same number as the exact value does (Boldo and Melquiond, Emulation of FMA and correctly rounded
    sums: proved algorithms using rounding to odd, 2008): float64 has 29 more, and more for subnormal results.
    """
    product, addend = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    total = product + addend
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    even = (total.view(np.int64) & 1) == 0
    odd = np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)), total)
    return np.asarray(odd.astype(np.float32), np.float32)
