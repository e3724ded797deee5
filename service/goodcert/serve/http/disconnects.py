"""Who still sends or waits: a body that does not come, and the work for a caller that hung up, are given up."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from goodcert.serve.core.errors import BodyBroken, BodyTooSlow, CallerGone, ServeError

PATIENCE_SECONDS = 0.05


class DisconnectWatcher:
    """Watches the requests under way.

    A timer and a listening task for each would cost more than most requests have to wait. So one timer looks at
    all of them every `patience_seconds`, and only callers that it meets twice are listened to.
    """

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._calls: set[WatchedRequest] = set()
        self._timer: asyncio.TimerHandle | None = None

    def attend(self, receive: Receive, deadline: float) -> "WatchedRequest":
        """A context for a request whose body must be there by `deadline`, a time of the event loop's clock."""
        return WatchedRequest(self, receive, deadline)

    def add(self, call: "WatchedRequest") -> None:
        self._calls.add(call)
        if self._timer is None:
            self._set(asyncio.get_running_loop())

    def discard(self, call: "WatchedRequest") -> None:
        self._calls.discard(call)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._patience_seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for call in self._calls:
            call.look(loop)
        if self._calls:
            self._set(loop)


class WatchedRequest:
    """A request under way, from the first byte of its body to its answer: `with disconnects.attend(...) as call`.

    What the block awaits is cancelled, and BodyTooSlow or CallerGone raised, when the caller is not to be waited
    for or does not wait any longer.
    """

    def __init__(self, disconnects: DisconnectWatcher, receive: Receive, deadline: float) -> None:
        self._disconnects = disconnects
        self._receive = receive
        self.deadline = deadline
        self._reads, self._seen = True, False
        self._watcher: asyncio.Task[None] | None = None
        self._given_up: ServeError | None = None

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._disconnects.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnects.discard(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._given_up is None or self._task is None:
            return
        others = self._task.uncancel()
        if kind is asyncio.CancelledError and not others:
            raise self._given_up from None

    async def body(self) -> bytes:
        """The whole body, which may be empty. After it the caller waits: `receive` has nothing to tell but that it
        hung up. Raises BodyBroken."""
        pieces: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise BodyBroken
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        self._reads = False
        return b"".join(pieces)

    def look(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._reads:
            if self.deadline <= loop.time():
                self._give_up(BodyTooSlow())
        elif not self._seen:
            self._seen = True
        elif self._watcher is None:
            self._watcher = loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._give_up(CallerGone())

    def _give_up(self, reason: ServeError) -> None:
        if self._given_up is None and self._task is not None:
            self._given_up = reason
            self._task.cancel()
