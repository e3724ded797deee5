"""The protocol over gRPC: every call becomes a request to the application itself.

So keys, limits, metrics and logs have one door, and both forms of the protocol one meaning. A key is looked at
before the message is read, too, so that strangers cannot upload.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc
import orjson
from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message

from goodcert.serve.admission.in_flight import BytesInFlight
from goodcert.serve.batching import threads
from goodcert.serve.core.errors import BadInference, BodyBroken, BodyTooSlow, ProtocolRefused, ServeError
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.http.problems import Answers, headers_of
from goodcert.serve.oip.grpc_messages import SERVICE, calls
from goodcert.serve.oip.grpc_translation import ASKS, TELLS, Ask, Told
from goodcert.serve.oip.infer_request import HEADER_LENGTH
from goodcert.serve.settings.settings import Settings, SettingsError

log = logging.getLogger("goodcert.serve")

Admit = Callable[[Mapping[str, str]], None]

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_OPEN = frozenset({"ServerLive", "ServerReady"})
# An answer like any other, though HTTP has a status for it.
_NOT_READY = 503
_FRAMING = frozenset(
    {"content-length", "content-encoding", "accept-encoding", "transfer-encoding", "content-type"}
)


class GrpcRefusal(Exception):
    """A call that gets no answer, by its HTTP status."""

    def __init__(self, status: int, sentence: str, retry_after: str | None = None) -> None:
        super().__init__(sentence)
        self.code = _CODES.get(status, grpc.StatusCode.UNKNOWN)
        self.sentence = sentence
        self.trailers = (("retry-after", retry_after),) if retry_after else ()


class GrpcServer:
    """Answers gRPC calls by asking `app`. admit: raises KeyRefused for the headers of a stranger. ask_seconds: how
    long a message may take to come and to be understood."""

    def __init__(
        self, app: ASGIApp, admit: Admit, in_flight: BytesInFlight, answers: Answers, ask_seconds: float
    ) -> None:
        self._app = app
        self._admit = admit
        self._in_flight = in_flight
        self._answers = answers
        self._ask_seconds = ask_seconds

    def handler(self) -> Any:
        """For a gRPC server. The calls take a stream, of one message, because it may be left unread."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.stream_unary_rpc_method_handler(
                    partial(self._serve, name), response_serializer=response.SerializeToString
                )
                for name, (_, response) in calls().items()
            },
        )

    async def _serve(self, name: str, messages: AsyncIterator[bytes], context: Any) -> Any:
        try:
            return await self._answer(name, messages, context)
        except GrpcRefusal as refused:
            await context.abort(refused.code, refused.sentence, refused.trailers)
        except ServeError as error:
            told = self._refused(error)
            await context.abort(told.code, told.sentence, told.trailers)

    def _refused(self, error: ServeError) -> GrpcRefusal:
        problem = self._answers.body(error)
        own = str(error) if isinstance(error, ProtocolRefused) else ""
        return GrpcRefusal(problem["status"], own or problem["detail"], headers_of(error).get("Retry-After"))

    async def _answer(self, name: str, messages: AsyncIterator[bytes], context: Any) -> Any:
        headers = _headers(context.invocation_metadata())
        if name not in _OPEN:
            self._admit(headers)
        ask = await self._ask(name, messages)
        told = await _asked(self._app, _scope(ask, headers, context.peer()), ask.body)
        if told.status == _NOT_READY and name.endswith("Ready"):
            return calls()[name][1](ready=False)
        if told.status != 200:
            _refuse(told)
        return TELLS[name](told)

    async def _ask(self, name: str, messages: AsyncIterator[bytes]) -> Ask:
        """What the first message asks. It is under way from when all of it is there, which is when gRPC shows it,
        until its translation is."""
        deadline = asyncio.get_running_loop().time() + self._ask_seconds
        data = await _read(messages, deadline)
        with self._in_flight.holding(len(data)):
            return await threads.run_if_large(lambda: ASKS[name](_parsed(name, data)), len(data), deadline)


@asynccontextmanager
async def serving(gateway: GrpcServer, settings: Settings, port: int, lifecycle: Lifecycle) -> AsyncIterator[int]:
    """Serve gRPC on the address of the settings; gives the port. At the end, what has begun is answered, unless
    that takes longer than the process may."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body_bytes),
            ("grpc.max_send_message_length", -1),
            # Workers share the port; anybody else on it is a mistake to be noticed.
            ("grpc.so_reuseport", int(settings.workers > 1)),
            ("grpc.max_connection_idle_ms", settings.idle_timeout_ms),
        ],
        maximum_concurrent_rpcs=settings.max_queue_items,
    )
    server.add_generic_rpc_handlers((gateway.handler(),))
    bound = bind(server, settings, port)
    await server.start()
    log.info("gRPC is served at port %d", bound)
    try:
        yield bound
    finally:
        left = max(lifecycle.ends - asyncio.get_running_loop().time(), 0)
        await server.stop(min(left, settings.grace_ms / 1000))


def bind(server: Any, settings: Settings, port: int) -> int:
    """With TLS wherever HTTP has it. Raises SettingsError."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    certificate, key = settings.tls_certificate, settings.tls_key
    if port == 0 and settings.workers > 1:
        raise SettingsError("grpc_port: got 0 with several workers, which would each take another; name a port")
    if certificate is None or key is None:
        return int(server.add_insecure_port(f"{host}:{port}"))
    if settings.tls_minimum_version != "1.2":
        raise SettingsError("tls_minimum_version: gRPC speaks TLS 1.2, too; leave out grpc_port, or allow 1.2")
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    return int(server.add_secure_port(f"{host}:{port}", credentials))


async def _read(messages: AsyncIterator[bytes], deadline: float) -> bytes:
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(messages)
    except StopAsyncIteration as error:
        raise BodyBroken from error
    except TimeoutError as error:
        raise BodyTooSlow from error


def _parsed(name: str, data: bytes) -> Any:
    try:
        return calls()[name][0].FromString(data)
    except DecodeError as error:
        raise BadInference("the message is not one of the protocol") from error


def _headers(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """The metadata that an HTTP request would have as headers; nothing of it may say how the body is framed."""
    return {
        name: value
        for name, value in metadata
        if isinstance(value, str) and name not in _FRAMING and not name.startswith("inference-header")
    }


def _scope(ask: Ask, headers: Mapping[str, str], peer: str) -> dict[str, Any]:
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(ask.body)).encode()))
    if ask.header_length is not None:
        raw.append((HEADER_LENGTH.encode(), str(ask.header_length).encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "2",
        "method": ask.method,
        "scheme": "http",
        "path": ask.path,
        "raw_path": ask.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": _client(peer),
        "server": None,
        "state": {},
    }


def _client(peer: str) -> tuple[str, int] | None:
    """The address in `ipv4:127.0.0.1:4711` or `ipv6:%5B::1%5D:4711`."""
    kind, _, address = unquote(peer).partition(":")
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if kind in ("ipv4", "ipv6") and port.isdigit() else None


async def _asked(app: ASGIApp, scope: dict[str, Any], body: bytes) -> Told:
    """What the application answers. A caller who goes away cancels this."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop() if waiting else await asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return Told(sent[0]["status"], dict(sent[0]["headers"]), content)


def _refuse(told: Told) -> NoReturn:
    retry_after = told.headers.get(b"retry-after")
    sentence = orjson.loads(told.body)["error"]
    raise GrpcRefusal(told.status, sentence, retry_after.decode() if retry_after else None)
