"""The search for the certified radius: the largest epsilon whose bound was found at or below the threshold.

A decimal digit a pass. The bound grows with epsilon but for rounding, so the answer is the last of the numbers in
a row that hold; whatever it is, its own bound was evaluated, and that of a larger ball covers every smaller one.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

DIGITS = 4
WIDTH = 11
"""The most epsilons that are tried at once."""


class RadiusSearch:
    """epsilons: to be tried next, in ascending order; none when the search is over. found: the largest so far that
    is certified; None where not even 0 is.

    Each epsilon is the float64 nearest to a decimal of at most `DIGITS` places in [0, 1], for which the ball makes
    room (ball.py): the decimal number itself is certified too.
    """

    def __init__(self) -> None:
        self.epsilons = [n / 10 for n in range(WIDTH)]
        self.found: float | None = None
        self._scale = 10

    def tell(self, certified: Sequence[bool]) -> None:
        """Which of the epsilons are; those behind the first that is not do not count."""
        held = next((i for i, holds in enumerate(certified) if not holds), len(certified))
        if held:
            self.found = self.epsilons[held - 1]
        self._scale *= 10
        if self.found is None or self.found == 1 or self._scale > 10**DIGITS:
            self.epsilons = []
        else:
            best = round(self.found * self._scale)
            self.epsilons = [(best + n) / self._scale for n in range(1, 10)]


Certified = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]
"""From rows (M,), with repetitions, and an epsilon for each to whether it is certified."""


def radii(count: int, certified: Certified) -> NDArray[np.float64]:
    """(count,) the searches of all rows in step, one call of `certified` a pass; NaN where 0 is not certified."""
    searches = [RadiusSearch() for _ in range(count)]
    while open_rows := [row for row, search in enumerate(searches) if search.epsilons]:
        asked = [searches[row].epsilons for row in open_rows]
        sizes = [len(epsilons) for epsilons in asked]
        holds = certified(np.repeat(open_rows, sizes), np.concatenate(asked))
        for row, answer in zip(open_rows, np.split(holds, np.cumsum(sizes)[:-1]), strict=True):
            searches[row].tell(answer.tolist())
    return np.array([np.nan if search.found is None else search.found for search in searches])
