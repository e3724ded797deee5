"""The protocol over HTTP: the paths under /v2, answered in front of the framework."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import orjson
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from goodcert.serve.batching import threads
from goodcert.serve.batching.threads import INLINE_BYTES
from goodcert.serve.core.errors import BadInference, NotSupported
from goodcert.serve.http.disconnects import WatchedRequest
from goodcert.serve.http.problems import is_protocol
from goodcert.serve.oip import bodies, json_fields
from goodcert.serve.oip.dataplane import Dataplane
from goodcert.serve.oip.infer_request import HEADER_LENGTH, Expected, InferRequest, parse
from goodcert.serve.oip.infer_response import InferAnswer, encode
from goodcert.serve.repository.repository import ServedModel

_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_UNSUPPORTED = {
    "systemsharedmemory": "shared memory is not supported; send the tensor with the request",
    "cudasharedmemory": "shared memory is not supported; send the tensor with the request",
    "trace": "trace settings are not part of this service",
    "logging": "log settings are not part of this service",
}


class ProtocolReply(NamedTuple):
    """A body, and its headers but for Content-Length."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)


@dataclass(frozen=True)
class ProtocolCall:
    """A request whose body is not read yet."""

    dataplane: Dataplane
    method: str
    headers: Headers
    query: str
    receive: Receive

    def require(self, method: str) -> None:
        if self.method != method:
            raise HTTPException(405, headers={"Allow": method})

    def attend(self) -> WatchedRequest:
        service = self.dataplane.service
        return service.disconnects.attend(self.receive, service.request_deadline())

    @asynccontextmanager
    async def inflated(self, watched: WatchedRequest) -> AsyncIterator[bytes]:
        """The whole body, inflated; while the context lasts, what it has grown by is under way, too.

        Raises BodyRefused, EncodingRefused, BodiesFull or DeadlineExceeded.
        """
        service, encoding = self.dataplane.service, self.headers.get("content-encoding", "")
        sent = await watched.body()
        body = await bodies.inflate(sent, encoding, service.settings.max_body_bytes, watched.deadline)
        with service.in_flight.holding(len(body) - len(sent)):
            yield body

    async def fields(self, known: str) -> Mapping[str, Any]:
        """The body as a JSON object with nothing but what is known; empty where there is no body."""
        with self.attend() as watched:
            async with self.inflated(watched) as body:
                return _fields(body, known)

    async def parameters(self) -> Mapping[str, Any]:
        """The `parameters` of a JSON body. Raises BadInference."""
        return json_fields.mapping((await self.fields("parameters")).get("parameters"), "parameters")


class OpenInference:
    """ASGI middleware: answers whatever lies under /v2 and hands on the rest."""

    def __init__(self, app: ASGIApp, dataplane: Callable[[], Dataplane]) -> None:
        self._app = app
        self._dataplane = dataplane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_protocol(scope["path"]):
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        call = ProtocolCall(self._dataplane(), scope["method"], Headers(scope=scope), query, receive)
        reply = await _answer(call, scope["path"].split("/")[2:])
        headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})


async def _answer(call: ProtocolCall, parts: list[str]) -> ProtocolReply:
    match parts:
        case ["models", "stats"]:
            return _told(call, call.dataplane.statistics())
        case ["models", name, "versions", version, *rest]:
            return await _about_model(call, name, version, rest)
        case ["models", name, *rest]:
            return await _about_model(call, name, None, rest)
        case ["repository", *rest]:
            return await _repository(call, rest)
        case [extension, *_] if extension in _UNSUPPORTED:
            raise NotSupported(_UNSUPPORTED[extension])
        case []:
            return _told(call, call.dataplane.server())
        case ["health", "live"]:
            return _told(call, {"live": True})
        case ["health", "ready"]:
            call.dataplane.require_ready()
            return _told(call, {"ready": True})
    raise HTTPException(404)


async def _about_model(call: ProtocolCall, name: str, version: str | None, rest: list[str]) -> ProtocolReply:
    dataplane = call.dataplane
    model = dataplane.model(name, version)
    match rest:
        case ["infer"]:
            return await _infer(call, model)
        case ["ready"]:
            model.require_sound()
            return _told(call, {"name": name, "ready": True})
        case ["config"]:
            return _told(call, dataplane.config(model))
        case ["stats"]:
            return _told(call, dataplane.statistics(name, version))
        case ["trace", "setting"]:
            raise NotSupported(_UNSUPPORTED["trace"])
        case []:
            return _told(call, dataplane.describe(model))
    raise HTTPException(404)


async def _infer(call: ProtocolCall, model: ServedModel) -> ProtocolReply:
    call.require("POST")
    with call.attend() as watched:
        answer = await call.dataplane.infer(model, partial(_read, call, watched))
    return _carried(answer, call.headers.get("accept-encoding", ""))


@asynccontextmanager
async def _read(call: ProtocolCall, watched: WatchedRequest, expected: Expected) -> AsyncIterator[InferRequest]:
    async with call.inflated(watched) as body:
        read = partial(parse, body, call.headers.get(HEADER_LENGTH), call.query, expected)
        yield await threads.run_if_large(read, len(body), watched.deadline)


def _carried(answer: InferAnswer, accepted: str) -> ProtocolReply:
    """The answer with the headers that say how to read it; compressed where that is asked for."""
    encoded = encode(answer)
    headers = [_JSON]
    if encoded.header_length is not None:
        headers = [_BINARY, (HEADER_LENGTH.encode(), str(encoded.header_length).encode())]
    body, encoding = bodies.deflate(encoded.body, accepted) if accepted else (encoded.body, None)
    if encoding:
        headers.append((b"content-encoding", encoding.encode()))
    return ProtocolReply(body, tuple(headers))


async def _repository(call: ProtocolCall, rest: list[str]) -> ProtocolReply:
    dataplane = call.dataplane
    match rest:
        case ["index"]:
            call.require("POST")
            return _json(dataplane.index(json_fields.flag(await call.fields("ready"), "ready", False)))
        case ["models", name, "load" | "unload" as verb]:
            call.require("POST")
            dataplane.changes()
            parameters = await call.parameters()
            await (dataplane.load if verb == "load" else dataplane.unload)(name, parameters)
            return _json({})
    raise HTTPException(404)


def _fields(body: bytes, known: str) -> Mapping[str, Any]:
    if len(body) > INLINE_BYTES:  # read on the event loop
        raise BadInference(f"the body: got {len(body)} bytes, expected {INLINE_BYTES} at most")
    try:
        message = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise BadInference("the body is not valid JSON") from error
    if not isinstance(message, dict):
        raise BadInference("the body: expected a JSON object")
    json_fields.require_known(message, (known,), "the body")
    return message


def _told(call: ProtocolCall, body: object) -> ProtocolReply:
    """What is only read."""
    call.require("GET")
    return _json(body)


def _json(body: object) -> ProtocolReply:
    return ProtocolReply(orjson.dumps(body))
