"""The paths under /v2: a raw ASGI application in front of the documented one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from goodcert.serve.batching import threads
from goodcert.serve.core.errors import NotReady, NotSupported, ProtocolRefused, ServeError, ShuttingDown
from goodcert.serve.http.problems import headers_of
from goodcert.serve.http.request_timeout import timeout_seconds
from goodcert.serve.http.service import Service
from goodcert.serve.oip import bodies, metadata, model_repository
from goodcert.serve.oip.error_format import error_body, is_protocol
from goodcert.serve.oip.infer import infer
from goodcert.serve.oip.infer_request import HEADER_LENGTH, Expected, InferRequest, parse
from goodcert.serve.oip.infer_response import Encoded, encode
from goodcert.serve.oip.statistics import InferenceCounts
from goodcert.serve.repository.repository import ServedModel

log = logging.getLogger("goodcert.serve")

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_UNSUPPORTED = {
    "systemsharedmemory": "shared memory is not supported; send the tensor with the request",
    "cudasharedmemory": "shared memory is not supported; send the tensor with the request",
    "trace": "trace settings are not part of this service",
    "logging": "log settings are not part of this service",
}


class ProtocolReply(NamedTuple):
    """An answer, its headers but for Content-Length."""

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)


@dataclass(frozen=True)
class ProtocolCall:
    """A request whose body is not read yet; `deadline` is a time of the event loop's clock."""

    service: Service
    method: str
    headers: Headers
    query: str
    receive: Receive
    deadline: float

    @asynccontextmanager
    async def body(self) -> AsyncIterator[bytes]:
        """The whole body, inflated; while the context lasts, what it has grown by is under way, too.

        Raises BodyRefused, EncodingRefused, BodiesFull or DeadlineExceeded.
        """
        body, grown = await self._inflated()
        with self.service.in_flight.holding(grown):
            yield body

    async def _inflated(self) -> tuple[bytes, int]:
        sent = await bodies.read(self.receive, self.deadline)
        encoding = self.headers.get("content-encoding", "")
        body = await bodies.inflate(sent, encoding, self.service.settings.max_body_bytes, self.deadline)
        return body, len(body) - len(sent)

    def require(self, method: str) -> None:
        if self.method != method:
            raise HTTPException(405, headers={"Allow": method})


class OpenInference:
    """ASGI middleware: answers whatever lies under /v2 and hands on the rest."""

    def __init__(self, app: ASGIApp, *, service: Callable[[], Service]) -> None:
        self._app = app
        self._service = service
        self._statistics = InferenceCounts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_protocol(scope["path"]):
            await self._app(scope, receive, send)
            return
        reply = await self._reply(scope, receive)
        headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def _reply(self, scope: Scope, receive: Receive) -> ProtocolReply:
        service = self._service()
        deadline = asyncio.get_running_loop().time() + service.settings.request_timeout_ms / 1000
        query = scope["query_string"].decode("latin-1")
        call = ProtocolCall(service, scope["method"], Headers(scope=scope), query, receive, deadline)
        try:
            return await self._answer(call, scope["path"].split("/")[2:])
        except (ServeError, HTTPException) as error:
            return _refusal(service, error)
        except Exception as error:  # whatever it is, the caller must be answered
            log.exception("a request of the protocol failed")
            return _refusal(service, error)

    def _answer(self, call: ProtocolCall, parts: list[str]) -> Awaitable[ProtocolReply]:
        match parts:
            case ["models", "stats"]:
                return _told(call, self._statistics.told(call.service.repository.all()))
            case ["models", name, "versions", version, *rest]:
                return self._about_model(call, name, version, rest)
            case ["models", name, *rest]:
                return self._about_model(call, name, None, rest)
            case ["repository", *rest]:
                return _repository(call, rest)
            case [extension, *_] if extension in _UNSUPPORTED:
                raise NotSupported(_UNSUPPORTED[extension])
        return _told(call, _about_server(call.service, parts))

    async def _about_model(
        self, call: ProtocolCall, name: str, version: str | None, rest: list[str]
    ) -> ProtocolReply:
        model = call.service.repository.get(name, version)
        match rest:
            case ["infer"]:
                return await self._infer(call, model)
            case ["ready"]:
                model.require_sound()
                return await _told(call, {"name": name, "ready": True})
            case ["config"]:
                return await _told(call, metadata.config(model, call.service.settings.max_queue_items))
            case ["stats"]:
                versions = [model] if version else call.service.repository.versions(name)
                return await _told(call, self._statistics.told(versions))
            case ["trace", "setting"]:
                raise NotSupported(_UNSUPPORTED["trace"])
            case []:
                return await _told(call, metadata.model(model, call.service.repository.versions(name)))
        raise HTTPException(404)

    async def _infer(self, call: ProtocolCall, model: ServedModel) -> ProtocolReply:
        call.require("POST")
        started = perf_counter()
        try:
            encoded, images = await _inferred(call, model)
        except BaseException:
            self._statistics.failed(model, perf_counter() - started)
            raise
        self._statistics.succeeded(model, images, perf_counter() - started)
        return _carried(encoded, call.headers.get("accept-encoding", ""))


async def _inferred(call: ProtocolCall, model: ServedModel) -> tuple[Encoded, int]:
    """The encoded answer and how many images it is about."""
    model.require_sound()
    settings, begun = call.service.settings, asyncio.get_running_loop().time()
    with call.service.disconnects.attend(call.receive, call.deadline) as attended:
        async with call.body() as body:
            attended.has_body()
            asked = await _understood(call, model, body)
            model.require_method(asked.question.method)
            most_ms = settings.request_timeout_ms
            deadline = begun + timeout_seconds(asked.timeout_ms or most_ms, most_ms)
            rows = await infer(call.service, model, asked.images, asked.question, deadline)
    return encode(asked.id, asked.outputs, asked.question, model, rows), len(rows)


async def _understood(call: ProtocolCall, model: ServedModel, body: bytes) -> InferRequest:
    most_images = call.service.settings.max_queue_items
    expected = Expected(model.engine.input_shape, model.metadata.epsilon, most_images)
    read = partial(parse, body, call.headers.get(HEADER_LENGTH), call.query, expected)
    return await threads.run_if_large(read, len(body), call.deadline)


def _carried(encoded: Encoded, accepted: str) -> ProtocolReply:
    """The answer with the headers that say how to read it; compressed where that is asked for."""
    headers = [_JSON]
    if encoded.header_length is not None:
        headers = [_BINARY, (HEADER_LENGTH.encode(), str(encoded.header_length).encode())]
    body, encoding = bodies.deflate(encoded.body, accepted) if accepted else (encoded.body, None)
    if encoding:
        headers.append((b"content-encoding", encoding.encode()))
    return ProtocolReply(body, headers=tuple(headers))


async def _repository(call: ProtocolCall, rest: list[str]) -> ProtocolReply:
    match rest:
        case ["index"]:
            call.require("POST")
            async with call.body() as body:
                ready_only = model_repository.wants_ready_only(body)
            return _json(metadata.index(call.service.repository, ready_only))
        case ["models", name, "load" | "unload" as verb]:
            call.require("POST")
            changes = model_repository.changes_of(call.service)
            async with call.body() as body:
                await (model_repository.load if verb == "load" else model_repository.unload)(changes, name, body)
            return _json({})
    raise HTTPException(404)


def _about_server(service: Service, parts: list[str]) -> dict[str, Any]:
    match parts:
        case []:
            return metadata.server()
        case ["health", "live"]:
            return {"live": True}
        case ["health", "ready"]:
            if service.lifecycle.stopping:
                raise ShuttingDown
            if not service.repository.ready():
                raise NotReady
            return {"ready": True}
    raise HTTPException(404)


async def _told(call: ProtocolCall, body: dict[str, Any]) -> ProtocolReply:
    """What is only read."""
    call.require("GET")
    return _json(body)


def _json(body: object) -> ProtocolReply:
    return ProtocolReply(orjson.dumps(body))


def _refusal(service: Service, error: Exception) -> ProtocolReply:
    """The protocol's error, counted by its code."""
    problem = service.answers.body(error)
    own = str(error) if isinstance(error, ProtocolRefused) else ""
    headers = ((name.lower().encode(), value.encode()) for name, value in headers_of(error).items())
    return ProtocolReply(error_body(own or problem["detail"]), problem["status"], (_JSON, *headers))
