"""The methods, and what `auto` asks crown for: decided here, for the engine and for the service."""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Method: TypeAlias = Literal["ibp", "crown", "auto"]


def undecided(confidence: ArrayLike, upper_bound: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Whether ibp leaves an image rejected, but not provably, which a tighter bound can change. Accepted images do
    not count: lower bounds hardly ever certify them, and they are most of the traffic."""
    return np.less_equal(confidence, threshold) & np.greater(upper_bound, threshold)
