"""HTTP connections with timeouts (slowloris protection), a limit on their number, and a limit on header bytes.

uvicorn has no timeout for slow headers and no limit on how many there are. One timer looks at all connections a
few times a second and closes those that are overdue, so a request costs no timer of its own, only readings of the
clock.
"""

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

import orjson
from starlette.exceptions import HTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from goodcert.serve.core.errors import BodyTooSlow, HeadersTooLarge, HeadersTooSlow, TooManyConnections
from goodcert.serve.http.problems import MEDIA_TYPE, Answers, headers_of
from goodcert.serve.server.parsing import RequestParser

MOST_HEADER_BYTES = 64 * 2**10
# Nobody pipelines but who wants memory: each of these is a request that waits for its turn.
MOST_PIPELINED = 16
# How long an upload that was already refused is read on, so that its sender sees the answer and not a reset.
LINGER_SECONDS = 2.0
# From hanging up to breaking off.
_GRACE_SECONDS = 0.5
# What may come after the headers, the trailers of a chunked body, goes nowhere.
_NOWHERE: Any = deque(maxlen=0)


class Phase(Enum):
    """What a connection waits for."""

    REQUEST = auto()  # nothing of it has come
    HEADERS = auto()
    BODY = auto()
    ANSWER = auto()


@dataclass(frozen=True)
class Patience:
    """How long each phase may take, in seconds, and how many connections there may be."""

    idle: float
    headers: float
    body: float
    connections: int

    @property
    def interval(self) -> float:
        """How often all connections are looked at: nobody is later by more than this."""
        return min(0.5, min(self.idle, self.headers, self.body) / 4)


class Guard:
    """Looks after all connections of a server."""

    def __init__(self, patience: Patience, answers: Answers) -> None:
        self.patience = patience
        self.answers = answers
        self._looking = False

    def welcome(self, connection: "Connection") -> None:
        """A connection was made: look after it, and if there are too many, send away who has waited longest."""
        if not self._looking:
            self._look(connection.loop, connection.connections)
        if len(connection.connections) > self.patience.connections:
            self._make_room(connection)

    def _look(self, loop: asyncio.AbstractEventLoop, connections: set[Any]) -> None:
        now = loop.time()
        for connection in [each for each in connections if each.due <= now]:
            connection.give_up(now)
        self._looking = bool(connections)
        if self._looking:
            loop.call_later(self.patience.interval, self._look, loop, connections)

    def _make_room(self, newest: "Connection") -> None:
        """For several at once, as looking for them costs more than hanging up."""
        connections: set[Any] = newest.connections
        waiting = [each for each in connections if each is not newest and each.can_go]
        if not waiting:
            newest.refuse(TooManyConnections(1))
        for connection in sorted(waiting, key=lambda each: each.due)[: 1 + self.patience.connections // 50]:
            connection.hang_up()


class _Joined:
    """A transport that sends together what is written in one turn of the loop: head and body of an answer are two
    writes, and each would wake the caller by a system call of its own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))


class Connection(HttpToolsProtocol):
    """One connection; `due` is the time of the loop's clock at which patience ends."""

    def __init__(self, *, guard: Guard, **options: Any) -> None:
        super().__init__(**options)
        self.parser = RequestParser(self)
        self.due = math.inf
        self._guard = guard
        self._patience = guard.patience
        self._phase = Phase.REQUEST
        self._header_bytes = 0

    @property
    def can_go(self) -> bool:
        """Whether hanging up costs nobody an answer."""
        return self._between and not self.transport.is_closing()

    @property
    def _between(self) -> bool:
        """Whether every request has its answer and the next is not complete up to its body."""
        waits = self._phase in (Phase.REQUEST, Phase.HEADERS)
        return waits and (self.cycle is None or self.cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Joined(transport, self.loop))
        self.due = self.loop.time() + self._patience.headers
        self._guard.welcome(self)

    def data_received(self, data: bytes) -> None:
        before = self._phase
        super().data_received(data)
        if before is self._phase is Phase.HEADERS:
            self._header_bytes += len(data)
            if self._header_bytes > MOST_HEADER_BYTES:
                self.refuse(HeadersTooLarge())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        self._enter(Phase.HEADERS, self._patience.headers)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            self._decline()
            return
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("too many requests at once")  # the parser makes a bad request of it
        super().on_headers_complete()
        self.headers = _NOWHERE
        self._enter(Phase.BODY, self._patience.body)

    def _decline(self) -> None:
        """An offer of another protocol is passed over: its request is told again without it. A tunnel is not."""
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("this is no proxy")

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._enter(Phase.REQUEST, self._patience.idle)
        else:
            self._enter(Phase.ANSWER, math.inf)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._phase is Phase.BODY:
            self._enter(Phase.BODY, LINGER_SECONDS)
        elif self._phase is Phase.ANSWER and self.cycle.response_complete:
            self._enter(Phase.REQUEST, self._patience.idle)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._enter(self._phase, self._patience.body)  # for reading the answer, too

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._phase is Phase.ANSWER:
            self._enter(Phase.ANSWER, math.inf)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  a problem document takes its place
        if self.cycle and not (self.cycle.more_body or self.cycle.response_complete):
            self.cycle.keep_alive = False  # what came before the nonsense still gets its answer
            self._enter(Phase.ANSWER, math.inf)
        else:
            self.refuse(HTTPException(400))

    def give_up(self, now: float) -> None:
        """The time is over: say so to who is in the middle of a request, and hang up; then break off."""
        if self.transport.is_closing():
            self.transport.abort()
        elif self.flow.read_paused:
            self.due = now + self._patience.body  # not the client is late: the application has not asked for more
        elif self._phase is Phase.HEADERS:
            self.refuse(HeadersTooSlow())
        elif self._phase is Phase.BODY:
            self.refuse(BodyTooSlow())
        else:
            self.hang_up()

    def refuse(self, error: Exception) -> None:
        """Answer with a problem unless an answer is on its way, and hang up."""
        if self.transport.is_closing():
            return
        unanswered = self._phase is Phase.BODY and not (self.cycle.response_started or self.pipeline)
        if self._between or unanswered:
            self.transport.write(_raw(self._guard.answers, error))
        self.hang_up()

    def hang_up(self) -> None:
        self.transport.close()
        self._enter(self._phase, _GRACE_SECONDS)

    def _enter(self, phase: Phase, seconds: float) -> None:
        self._phase = phase
        self.due = self.loop.time() + seconds


def _raw(answers: Answers, error: Exception) -> bytes:
    """A problem as bytes of HTTP/1.1, for where there is no request yet that could be answered."""
    body = answers.body(error)
    content = orjson.dumps(body)
    headers = {
        "content-type": MEDIA_TYPE,
        "content-length": str(len(content)),
        **headers_of(error),
        "connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {body['status']} {HTTPStatus(body['status']).phrase}\r\n{lines}\r\n".encode() + content
