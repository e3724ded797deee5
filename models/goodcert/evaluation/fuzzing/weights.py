"""Random weights: mostly plain, now and then such as make rounding, underflow and cancellation show."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from goodcert.evaluation.fuzzing.draft import Draft

KINDS = ("normal", "normal", "normal", "signs", "sparse", "whole", "one", "mixed", "alike", "subnormal", "tiny")


def numbers(draft: Draft, shape: Sequence[int], fan_in: int | None = None) -> NDArray[np.float32]:
    """Weights whose sums of `fan_in` products are about 1 in size, but for a few."""
    fan_in = fan_in or max(1, prod(shape[1:]))
    random, scale = draft.random, 1.5 / np.sqrt(fan_in)
    values = random.standard_normal(tuple(shape)) * scale
    match draft.pick(KINDS):
        case "signs":
            values = np.where(values > 0, scale, -scale)
        case "sparse":
            values *= random.random(values.shape) < 0.4
        case "whole":
            values = np.round(values * 3)
        case "one":
            values = np.where(random.random(values.shape) < 1 / fan_in, 1.0, 0.0)
        case "mixed":
            values *= 2.0 ** random.integers(-24, 9, values.shape)
        case "alike":
            values = np.full(values.shape, values.flat[0] if values.size else 0.0)
        case "subnormal":
            values = np.where(random.random(values.shape) < 0.3, values * 2.0**-130, values)
        case "tiny":
            values = values * 2.0 ** draft.whole(-60, 0)
        case _:
            pass
    return np.asarray(values, np.float32)


def weights(draft: Draft, shape: Sequence[int], fan_in: int | None = None) -> str:
    """The name of a constant of such numbers, which the graph now and then computes from others."""
    values = numbers(draft, shape, fan_in)
    if not shape or draft.chance(0.9):
        return draft.constant(values)
    match draft.pick(("Mul", "Add", "Transpose", "Reshape", "Identity", "Cast", "Neg")):
        case "Mul":
            factor = np.float32(draft.pick((0.5, 3.0, -1.0, 2.0**-20)))
            return draft.fixed("Mul", [draft.constant(values), draft.constant(factor)])
        case "Add":
            return draft.fixed("Add", [draft.constant(values), draft.constant(numbers(draft, shape, fan_in))])
        case "Transpose":
            return draft.fixed("Transpose", [draft.constant(values.T)], perm=[*reversed(range(values.ndim))])
        case "Reshape":
            return draft.fixed("Reshape", [draft.constant(values.reshape(-1)), draft.integers(shape)])
        case "Cast":
            return draft.fixed("Cast", [draft.constant(values)], to=1)
        case "Neg":
            return draft.fixed("Neg", [draft.constant(values)])
        case _:
            return draft.fixed("Identity", [draft.constant(values)])
