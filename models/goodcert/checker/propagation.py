"""Eq. 3 and 5 without rounding: boxes whose ends are integers over one denominator.

Pixels, epsilon and float32 weights are rational numbers. A layer is written with integers, too: each number in it
is an integer times a power of two, of which the lowest is taken for all. Python's integers have as many digits as
it takes, so sums and products are what they are in mathematics.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from goodcert.checker.model import AffineLayer, require

Integers = NDArray[np.object_]

_GREY = (19595, 38470, 7471)  # the parts of red, green and blue in a grey pixel


class IntegerBox(NamedTuple):
    """The real numbers from lower / scale to upper / scale, element by element; scale > 0."""

    lower: Integers
    upper: Integers
    scale: int


def differences(box: IntegerBox, layers: Sequence[AffineLayer]) -> tuple[Integers, int]:
    """(K, K) integers and their denominator: entry (k, l) is the upper bound on f_k - f_l by eq. 3 and 5.

    box: of the input, (C, H, W). Raises NotCheckable for layers that do not fit together.
    """
    for layer in layers[:-1]:
        box = _affine(box, layer)
    return _last(box, layers[-1])


def ball(pixels: NDArray[np.uint8], channels: int, epsilon: Fraction) -> IntegerBox:
    """(C, H, W): all images in [0, 1] within epsilon of this one, k of 255, (H, W) or (H, W, 3): made grey by
    weights that sum to 1, so that what is within epsilon stays so, or with its grey in every channel."""
    values, white = pixels.astype(object), 255
    if pixels.ndim == 3 and channels == 1:
        values, white = values @ np.array(_GREY, dtype=object), 255 * sum(_GREY)
    planes = values.transpose(2, 0, 1) if values.ndim == 3 else np.stack([values] * channels)
    centre, reach, scale = planes * epsilon.denominator, epsilon.numerator * white, epsilon.denominator * white
    return IntegerBox(np.maximum(centre - reach, 0), np.minimum(centre + reach, scale), scale)


def _affine(box: IntegerBox, layer: AffineLayer) -> IntegerBox:
    """Eq. 3: the ends are W (l + h) / 2 + b -+ |W| (h - l) / 2, here all times 2."""
    weight, bias, unit = _integers(layer)
    total, width = (_seen(values, layer) for values in (box.lower + box.upper, box.upper - box.lower))
    centre = np.tensordot(weight, total, 1) + (2 * box.scale * bias)[:, None, None]
    reach = np.tensordot(abs(weight), width, 1)
    lower, upper = (np.maximum(end, 0) if layer.relu else end for end in (centre - reach, centre + reach))
    return IntegerBox(lower, upper, 2 * box.scale * unit)


def _seen(values: Integers, layer: AffineLayer) -> Integers:
    """(F, H, W): the F values that the layer sees at each place of its output, 0 beyond the border."""
    seen = values.reshape(-1, 1, 1)
    if sees := layer.footprint:
        (top, left, bottom, right), (height, width) = sees.pads, values.shape[1:]
        padded = np.zeros((len(values), top + height + bottom, left + width + right), dtype=object)
        padded[:, top : top + height, left : left + width] = values
        spans = [step * (size - 1) + 1 for step, size in zip(sees.dilations, sees.kernel, strict=True)]
        require(spans[0] <= padded.shape[1] and spans[1] <= padded.shape[2], "a kernel is larger than its input")
        windows = sliding_window_view(padded, spans, (1, 2))[:, :: sees.strides[0], :: sees.strides[1]]
        windows = windows[..., :: sees.dilations[0], :: sees.dilations[1]]
        seen = windows.transpose(0, 3, 4, 1, 2).reshape(-1, *windows.shape[1:3])
    require(len(seen) == layer.weight.shape[1], f"a {layer.operator} does not fit the layer before it")
    return seen


def _last(box: IntegerBox, layer: AffineLayer) -> tuple[Integers, int]:
    """Eq. 5: (W_k - W_l) (l + h) / 2 + b_k - b_l + |W_k - W_l| (h - l) / 2, here all times 2."""
    weight, bias, unit = _integers(layer)
    total, width = (_seen(values, layer).ravel() for values in (box.lower + box.upper, box.upper - box.lower))
    rows = [
        (row - weight) @ total + abs(row - weight) @ width + 2 * box.scale * (offset - bias)
        for row, offset in zip(weight, bias, strict=True)
    ]
    return np.stack(rows), 2 * box.scale * unit


def _integers(layer: AffineLayer) -> tuple[Integers, Integers, int]:
    """Weight and bias as integers over one power of two."""
    both = np.column_stack([layer.weight, layer.bias])
    mantissas, exponents = np.frexp(both.astype(np.float64))  # of 24 bits, as float32 has
    shifts = np.where(both == 0, 24, exponents) - 24
    lowest = min(int(shifts.min()), 0)
    numbers = (mantissas * 2**24).astype(np.int64).astype(object) << (shifts - lowest).astype(object)
    return numbers[:, :-1], numbers[:, -1], 2**-lowest
