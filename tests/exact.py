"""Rational arithmetic beside the float32 code: exact bounds, and what a deployed layer may compute.

Arrays of Fraction are NumPy arrays of dtype object.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


def rational(values: ArrayLike) -> Array:
    """Every float as the fraction that it is."""
    array = np.asarray(values)
    fractions = [Fraction(float(value)) for value in array.ravel()]
    return np.array([*fractions, None], dtype=object)[:-1].reshape(array.shape)


def dot(matrix: Array, vector: Array) -> Array:
    """matrix @ vector, without the products by zero."""
    return np.array([*(sum((a * x for a, x in zip(row, vector, strict=True) if a), Fraction(0)) for row in matrix), None], dtype=object)[:-1]  # fmt: skip  # noqa: E501


def affine(weight: Array, bias: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """The box of weight x + bias over a box of x."""
    centre, reach = dot(weight, (lower + upper) / 2) + bias, dot(abs(weight), (upper - lower) / 2)
    return centre - reach, centre + reach


def relu(lower: Array, upper: Array) -> tuple[Array, Array]:
    return np.maximum(lower, Fraction(0)), np.maximum(upper, Fraction(0))


def differences(weight: Array, bias: Array, lower: Array, upper: Array) -> Array:
    """(K, K) eq. 5: the largest f_k - f_l over the box, the two logits taken together."""
    classes = len(bias)
    rows = [(weight[k] - weight[j], bias[k] - bias[j]) for k in range(classes) for j in range(classes)]
    matrix, offsets = np.stack([row for row, _ in rows]), np.array([offset for _, offset in rows], dtype=object)
    return affine(matrix, offsets, lower, upper)[1].reshape(classes, classes)


def conv_matrix(weight: Array, size: int, stride: int, padding: int) -> Array:
    """(O * H' * W', C * size * size): the convolution (O, C, k, k) on square images as a matrix."""
    outputs, channels, kernel, _ = weight.shape
    out = (size + 2 * padding - kernel) // stride + 1
    matrix = np.zeros((outputs, out, out, channels, size, size), weight.dtype)
    for i, j, di, dj in np.ndindex(out, out, kernel, kernel):
        y, x = i * stride + di - padding, j * stride + dj - padding
        if 0 <= y < size and 0 <= x < size:
            matrix[:, i, j, :, y, x] = weight[:, :, di, dj]
    return matrix.reshape(outputs * out * out, -1)


def round32(value: Fraction) -> np.float32:
    """The nearest float32, ties to even, subnormal numbers included."""
    if value == 0:
        return np.float32(0)
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    quantum = Fraction(2) ** (max(exponent, -126) - 23)
    return np.float32(float(round(value / quantum) * quantum))


def evaluations(weight: Array, bias: Array, x: Array, seed: int = 0) -> Iterator[Array]:
    """What float32 may make of weight x + bias (float32): orders of summation, the bias first and last."""
    random, features = np.random.default_rng(seed), weight.shape[1]
    products = weight * x
    for order in (np.arange(features), np.arange(features)[::-1], *(random.permuted(np.arange(features)) for _ in range(3))):  # fmt: skip  # noqa: E501
        terms = products[:, order]
        yield np.add.accumulate(np.column_stack([bias, terms]), axis=1)[:, -1]
        yield np.add.accumulate(np.column_stack([terms, bias]), axis=1)[:, -1]
        yield _pairwise(np.column_stack([terms, bias]))
    yield np.add.accumulate(np.column_stack([bias, np.sort(products, axis=1)]), axis=1)[:, -1]


def fused_evaluations(weight: Array, bias: Array, x: Array, seed: int = 0) -> Iterator[Array]:
    """The same with fused multiply-add, each rounded once from its exact value: slow."""
    features = weight.shape[1]
    for order in (np.arange(features), np.random.default_rng(seed).permuted(np.arange(features))):
        for start in (bias, np.zeros_like(bias)):
            total = start.copy()
            for i in order:
                fused = rational(weight[:, i]) * rational(x[i : i + 1])[0] + rational(total)
                total = np.array([round32(value) for value in fused])
            yield total if start is bias else total + bias


def _pairwise(terms: Array) -> Array:
    while terms.shape[1] > 1:
        if terms.shape[1] % 2:
            terms = np.column_stack([terms, np.zeros_like(terms[:, 0])])
        terms = terms[:, ::2] + terms[:, 1::2]
    return terms[:, 0]
