"""What the engine answers for a batch: numbers only, no HTTP, no verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Certificates:
    """Arrays over a batch of N images and K classes.

    index: (N,) int64, the predicted class.
    confidence: (N,) float64, the largest softmax probability at the image itself.
    confidence_lower_bound, confidence_upper_bound: (N,) float64, guaranteed over the whole ball.
    margins: (N, K, K) float64, guaranteed upper bounds on f_k - f_l over the ball; the diagonal is 0.
    method: (N,) str, what gave the bounds: `ibp`, or `crown`, which holds the better of both.
    """

    index: NDArray[np.int64]
    confidence: NDArray[np.float64]
    confidence_lower_bound: NDArray[np.float64]
    confidence_upper_bound: NDArray[np.float64]
    margins: NDArray[np.float64]
    method: NDArray[np.str_]

    @classmethod
    def concatenate(cls, parts: Sequence["Certificates"]) -> "Certificates":
        """One record for several batches, in order."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def possible(self) -> NDArray[np.bool_]:
        """(N, K): which classes can win inside the ball; k cannot when some l is certainly above it."""
        return np.asarray(~(self.margins < 0).any(axis=2))

    def in_order(self) -> NDArray[np.bool_]:
        """(N,): whether 1/K <= lower bound <= confidence <= upper bound <= 1. NaN is not in order."""
        lowest = 1 / self.margins.shape[-1]
        return np.asarray(
            (lowest <= self.confidence_lower_bound)
            & (self.confidence_lower_bound <= self.confidence)
            & (self.confidence <= self.confidence_upper_bound)
            & (self.confidence_upper_bound <= 1)
        )

    def sound(self) -> NDArray[np.bool_]:
        """(N,): whether the numbers are in order, and the predicted class is one that can win. Always true, or the
        engine is broken and nothing it says may be believed."""
        loses = (self.margins[np.arange(len(self.index)), self.index] < 0).any(axis=1)
        return np.asarray(~loses & self.in_order())
