"""Who still waits for an answer: the work for a caller that hangs up is given up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.types import Receive

from goodcert.serve.errors import CallerGone

PATIENCE_SECONDS = 0.05

T = TypeVar("T")


class _Call:
    """A request with the task that works on it."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.task = asyncio.current_task()
        self.seen = False
        self.gone = False
        self.watcher: asyncio.Task[None] | None = None

    async def watch(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        if self.watcher is not None:
            self.watcher.cancel()


class Callers:
    """Listens for callers that hang up.

    To listen costs a task a request, more than most requests have to wait: one timer looks at all of them every
    `PATIENCE_SECONDS`, and only those that it meets twice are listened to.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._calls: set[_Call] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def attend(self, receive: Receive, work: Awaitable[T]) -> T:
        """The result of `work`, which is cancelled when the caller hangs up: then raises CallerGone.

        receive: of a request whose body has been read.
        """
        call = _Call(receive)
        self._calls.add(call)
        if self._timer is None:
            self._set(asyncio.get_running_loop())
        try:
            return await work
        except asyncio.CancelledError:
            if call.gone and call.task is not None and call.task.uncancel() == 0:
                raise CallerGone from None
            raise
        finally:
            self._calls.discard(call)
            call.end()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._patience_seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for call in self._calls:
            if call.seen and call.watcher is None:
                call.watcher = loop.create_task(call.watch())
            call.seen = True
        if self._calls:
            self._set(loop)
