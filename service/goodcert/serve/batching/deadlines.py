"""Deadlines of many callers, with one timer for all of them. On the event loop, so nothing needs a lock."""

import asyncio
import math
from typing import Any, Generic, Protocol, TypeVar


class Expiring(Protocol):
    """What a caller waits for: `future`, at most until `deadline` by the clock of the event loop."""

    @property
    def deadline(self) -> float: ...

    @property
    def future(self) -> asyncio.Future[Any]: ...

    def expire(self) -> None:
        """Tell the caller that it is too late."""


E = TypeVar("E", bound=Expiring)


class DeadlineTimer(Generic[E]):
    """Expires entries at their deadlines, unless they are forgotten before. One with a deadline of infinity waits
    for ever."""

    def __init__(self) -> None:
        self._entries: dict[E, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def add(self, entry: E, loop: asyncio.AbstractEventLoop) -> None:
        self._entries[entry] = None
        if entry.deadline < self._rings_at:
            self.stop()
            self._set(entry.deadline, loop)

    def forget(self, entry: E) -> None:
        del self._entries[entry]  # the timer stays as it is: setting it anew for every entry would cost more

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = math.inf

    def _set(self, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        self._rings_at = deadline
        self._timer = loop.call_at(deadline, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rings_at = math.inf
        open_entries = [entry for entry in self._entries if not entry.future.done()]
        for entry in open_entries:
            if entry.deadline <= loop.time():
                entry.expire()
        later = min((entry.deadline for entry in open_entries if not entry.future.done()), default=math.inf)
        if later < math.inf:
            self._set(later, loop)
