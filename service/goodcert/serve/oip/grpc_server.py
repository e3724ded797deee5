"""The protocol over gRPC: the same dataplane as over HTTP, behind the same admission.

A key is looked at before the message is read, too, so that strangers cannot upload.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from goodcert.images.errors import CodedError
from goodcert.serve.admission.admission import Admission
from goodcert.serve.batching import threads
from goodcert.serve.core.errors import BadInference, BodyBroken, BodyTooSlow
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.http.problems import Answers, problem_of
from goodcert.serve.oip.dataplane import Dataplane
from goodcert.serve.oip.grpc_messages import SERVICE, calls
from goodcert.serve.oip.grpc_translation import CALLS
from goodcert.serve.settings.settings import Settings, SettingsError

log = logging.getLogger("goodcert.serve")

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
# How a body is framed is gRPC's business, and nothing that a caller says.
_FRAMING = frozenset({"content-length", "transfer-encoding"})


class GrpcServer:
    """Answers gRPC calls by the dataplane."""

    def __init__(self, dataplane: Dataplane, admission: Admission, answers: Answers) -> None:
        self._dataplane = dataplane
        self._admission = admission
        self._answers = answers

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
        """A message is under way from when all of it is there, which is when gRPC shows it, to its answer."""
        headers = _headers(context.invocation_metadata())
        deadline = self._dataplane.service.request_deadline()
        try:
            if name not in _OPEN and self._admission.keyring.asks:
                self._admission.holder(headers)
            data = await _read(messages, deadline)
            with self._admission.in_flight.holding(len(data)):
                ask = await threads.run_if_large(partial(_parsed, name, data), len(data), deadline)
                del data  # what is asked has the bytes of the images itself
                return await self._answer(name, ask, headers)
        except CodedError as error:
            await self._abort(error, context)

    async def _answer(self, name: str, ask: Any, headers: list[tuple[bytes, bytes]]) -> Any:
        """The message that answers a call, admitted and counted like an HTTP request. Raises CodedError."""
        call, response = CALLS[name], calls()[name][1]
        with self._admission.visit(call.method, call.path(ask), headers) as visit:
            try:
                visit.admit()
                answer = response(**await call.answer(self._dataplane, ask))
            except asyncio.CancelledError:
                visit.status = self._answers.refusal(visit.cut_off()).status
                raise
            except CodedError as error:
                visit.status = problem_of(error).status
                if visit.status == _NOT_READY and name.endswith("Ready"):
                    self._answers.refusal(error)
                    return response(ready=False)
                raise
            except Exception as error:
                visit.status = problem_of(error).status
                visit.fail(error)
                raise CodedError from error
            visit.status = 200
            return answer

    async def _abort(self, error: CodedError, context: Any) -> None:
        status, sentence, headers = self._answers.refusal(error)
        retry_after = headers.get("Retry-After")
        trailers = (("retry-after", retry_after),) if retry_after else ()
        await context.abort(_CODES.get(status, grpc.StatusCode.UNKNOWN), sentence, trailers)


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
    """What a message asks. Raises BadInference."""
    try:
        return CALLS[name].read(calls()[name][0].FromString(data))
    except DecodeError as error:
        raise BadInference("the message is not one of the protocol") from error


def _headers(metadata: Iterable[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """The metadata that an HTTP request would have as headers."""
    texts = ((name, value) for name, value in metadata if isinstance(value, str) and name not in _FRAMING)
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in texts]
