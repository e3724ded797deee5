"""The search for the certified radius: the largest epsilon whose bound was found at or below the threshold.

A decimal digit a pass. The bound grows with epsilon but for rounding, so the answer is the last of the numbers in
a row that hold; whatever it is, its own bound was evaluated, and that of a larger ball covers every smaller one.
"""

from collections.abc import Callable, Generator, Sequence

import numpy as np
from numpy.typing import NDArray

DIGITS = 4
WIDTH = 11
"""The most epsilons that are tried at once."""

Search = Generator[list[float], Sequence[bool], float | None]


def search() -> Search:
    """Yields epsilons to try and is sent, in order, which of them are certified; returns the largest that is, or
    None where not even 0 is.

    Each epsilon is the float64 nearest to a decimal of at most `DIGITS` places in [0, 1], for which the ball makes
    room (ball.py): the decimal number itself is certified too.
    """
    held = _row((yield [n / 10 for n in range(WIDTH)]))
    if held == 0:
        return None
    best, scale = held - 1, 10
    for _ in range(DIGITS - 1):
        best, scale = best * 10, scale * 10
        if best < scale:
            best += _row((yield [(best + n) / scale for n in range(1, 10)]))
    return best / scale


def _row(certified: Sequence[bool]) -> int:
    """How many hold before the first that does not."""
    return next((i for i, holds in enumerate(certified) if not holds), len(certified))


Certified = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.bool_]]
"""From rows (M,), with repetitions, and an epsilon for each to whether it is certified."""


def radii(count: int, certified: Certified) -> NDArray[np.float64]:
    """(count,) the searches of all rows in step, one call of `certified` a pass; NaN where 0 is not certified."""
    searches = [search() for _ in range(count)]
    asked = {row: next(one) for row, one in enumerate(searches)}
    found = np.full(count, np.nan)
    while asked:
        sizes = [len(epsilons) for epsilons in asked.values()]
        holds = certified(np.repeat([*asked], sizes), np.concatenate([*asked.values()]))
        answers = dict(zip(asked, np.split(holds, np.cumsum(sizes)[:-1]), strict=True))
        asked = {}
        for row, answer in answers.items():
            try:
                asked[row] = searches[row].send(answer.tolist())
            except StopIteration as end:
                found[row] = np.nan if end.value is None else end.value
    return found
