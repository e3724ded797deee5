"""The same short work for many callers, one after another in one turn of the event loop.

Between the other things that a request needs, decoding a small image takes half as long again as right after
another image: its code and data are out of the caches of the processor each time.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Generic, TypeVar

T = TypeVar("T")

TURN_SECONDS = 0.005
"""After so long the loop may do something else before it goes on."""


class Coalescer(Generic[T]):
    """On the event loop, so nothing needs a lock."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[], T], asyncio.Future[T]]] = deque()

    def run(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """What `work` returns or raises, as soon as the loop has run what is ready now."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run, loop)
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, future))
        return future

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        until = perf_counter() + TURN_SECONDS
        while self._waiting:
            work, future = self._waiting.popleft()
            if not future.done():  # or its caller has gone
                _settle(future, work)
            if self._waiting and perf_counter() > until:
                loop.call_soon(self._run, loop)
                break


def _settle(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  whatever it is, it is the caller's
        future.set_exception(error)
