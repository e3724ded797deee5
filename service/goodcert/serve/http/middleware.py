"""What every request passes first: it is counted, gets its id, and is refused while the process ends.

An id that the caller sent in X-Request-Id is kept if it is sane; it is in every line of the log about the
request and in the answer. Whatever goes wrong unforeseen behind here becomes a problem document and a line in
the log; so does, without the line, to be cut off before the answer.
"""

import asyncio
import logging
import re
from collections.abc import MutableMapping
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.serve.core.errors import CallerGone, ServeError, ShuttingDown
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.core.logs import request_id
from goodcert.serve.http.problems import Answers
from goodcert.serve.telemetry.request_counts import RequestCounter

log = logging.getLogger("goodcert.serve")
access = logging.getLogger("goodcert.access")

HEADER = b"x-request-id"
# Enough for UUIDs, ULIDs, and what proxies make; nothing that could break a line of a log or a header.
_SANE = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
_CLOSE = (b"connection", b"close")
# Asked by whoever watches the end.
_ANSWERED_TO_THE_END = frozenset(
    {"/health/live", "/health/ready", "/health/started", "/v2/health/live", "/v2/health/ready", "/metrics"}
)


class RequestMiddleware:
    """ASGI middleware, the outermost."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        lifecycle: Lifecycle,
        answers: Answers,
        request_counter: RequestCounter,
        access_log: bool = False,
    ) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._answers = answers
        self._request_counter = request_counter
        self._access_log = access_log
        self._prefix = token_hex(8)
        self._numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity = self._identity(scope)
        token = request_id.set(identity.decode())
        exchange = _Exchange(send, identity, self._lifecycle)
        self._lifecycle.in_flight += 1
        try:
            await self._answer(scope, receive, exchange)
        finally:
            self._lifecycle.in_flight -= 1
            self._request_counter.count(scope["path"], exchange.status)
            if self._access_log:
                exchange.note(scope)
            request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, exchange: "_Exchange") -> None:
        if self._lifecycle.refusing and scope["path"] not in _ANSWERED_TO_THE_END:
            await self._answers.response(ShuttingDown())(scope, receive, exchange.send)
            return
        try:
            await self._app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.status:
                await self._answers.response(self._cut_off())(scope, receive, exchange.send)
            raise
        except Exception as error:  # whatever it is, the caller gets a problem and the log its places
            log.exception("a request failed")
            if not exchange.status:
                await self._answers.response(error)(scope, receive, exchange.send)

    def _cut_off(self) -> ServeError:
        """Why a request was cancelled: a gRPC caller hung up, or the process must end and waits no longer."""
        return ShuttingDown() if self._lifecycle.refusing else CallerGone()

    def _identity(self, scope: Scope) -> bytes:
        for name, value in scope["headers"]:
            if name == HEADER and _SANE.fullmatch(value):
                return bytes(value)
        return b"%s-%x" % (self._prefix.encode(), next(self._numbers))


class _Exchange:
    """One request and its answer. status: of the answer, 0 before it has begun."""

    def __init__(self, send: Send, identity: bytes, lifecycle: Lifecycle) -> None:
        self._send = send
        self._identity = identity
        self._lifecycle = lifecycle
        self._started = perf_counter()
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (HEADER, self._identity)]
            message["headers"] = [*headers, _CLOSE] if self._lifecycle.stopping else headers
        await self._send(message)

    def note(self, scope: MutableMapping[str, Any]) -> None:
        """A line for the access log, without query and address."""
        seconds = round(perf_counter() - self._started, 6)
        fields = {"method": scope["method"], "path": scope["path"], "status": self.status, "seconds": seconds}
        access.info("request", extra={"fields": fields})
