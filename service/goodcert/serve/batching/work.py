"""The three steps of a batch, and what becomes of one that fails.

Two threads that both want the interpreter take it from each other many times a millisecond: so what is short and
in Python is done on the event loop, before and after, and the engine's thread is left with what runs without it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from goodcert.serve.core.errors import EngineFailed

log = logging.getLogger("goodcert.serve")

T = TypeVar("T", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")
D = TypeVar("D")
X = TypeVar("X")
Y = TypeVar("Y")


class Work(Protocol[T, P, D, R_co]):
    """From a batch of items to a result for each. A step that raises fails its batch and no other."""

    def prepare(self, items: Sequence[T]) -> P:
        """On the loop: what the engine takes."""

    def run(self, prepared: P) -> D:
        """In an engine thread: all that takes time, without the interpreter where possible."""

    def finish(self, done: D) -> Sequence[R_co | Exception]:
        """On the loop: as many results as items, in order; an exception in the place of one goes to its caller."""


@dataclass(frozen=True)
class Raised:
    """In the place of what a step would have given."""

    error: Exception


def attempt(step: Callable[[X], Y], given: X | Raised) -> Y | Raised:
    """What the step makes of what the one before gave; where either raises, that, for it must reach the callers
    and not end the thread or the loop."""
    if isinstance(given, Raised):
        return given
    try:
        return step(given)
    except Exception as error:  # noqa: BLE001  whatever it is
        return Raised(error)


def results(
    finish: Callable[[X], Sequence[R | Exception]], done: X | Raised, count: int
) -> Sequence[R | Exception]:
    """One for each of so many items; where the batch failed, an error of its own, all with the same cause."""
    try:
        if isinstance(done, Raised):
            raise done.error
        made = finish(done)
        if len(made) != count:
            raise ValueError(f"the engine gave {len(made)} results, expected {count}")
    except Exception as error:
        log.exception("the engine failed on a batch of %d", count)
        return [_failed(error) for _ in range(count)]
    return made


def _failed(cause: Exception) -> EngineFailed:
    failed = EngineFailed(repr(cause))
    failed.__cause__ = cause
    return failed
