"""The way of a plain certify request: one image, raw bytes in, one certificate out, no framework between.

It does what the documented route does, with the same functions, and the tests hold both against each other; what
it leaves out is the framework's own cost, several times that of everything else here. Anything that is not plain
(a form, another method) goes on to the framework.
"""

from collections.abc import Callable
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from goodcert.serve.core.errors import ServeError
from goodcert.serve.http.multipart import FORM, read_body
from goodcert.serve.http.request_context import RequestContext, request_context
from goodcert.serve.http.schemas import certificate_body
from goodcert.serve.http.service import Service
from goodcert.serve.recording.recorder import Reply

_FORM = FORM.encode()


class CertifyEndpoint:
    """ASGI middleware; `service` is there once the application has started."""

    def __init__(self, app: ASGIApp, *, service: Callable[[], Service]) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _named(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if named is None or _is_form(scope):
            await self._app(scope, receive, send)
            return
        service = self._service()
        try:
            reply = await _certify(service, request_context(service, scope, *named), receive)
        except Exception as error:
            await service.answers.response(error)(scope, receive, send)
            if not isinstance(error, ServeError):
                raise  # for the server's log
            return
        await _send(reply, send)


async def _certify(service: Service, about: RequestContext, receive: Receive) -> Reply:
    with service.disconnects.attend(receive, about.deadline) as call:
        upload = await read_body(receive)
        call.has_body()

        async def make() -> Reply:
            certificate = await service.certifier.certify(upload, about.model, about.question, about.deadline)
            return about.seal.one(certificate_body(certificate), upload)

        return await service.recorder.record(make, about.once(upload), about.deadline)


@lru_cache(maxsize=256)
def _named(path: str) -> tuple[str, str | None] | None:
    """The model and its version, of the path of a certify request; None for any other."""
    match path.split("/"):
        case ["", "v1", "models", name, "certify"] if name:
            return name, None
        case ["", "v1", "models", name, "versions", version, "certify"] if name and version:
            return name, version
    return None


def _is_form(scope: Scope) -> bool:
    return any(
        name == b"content-type" and value[: len(_FORM)].lower() == _FORM for name, value in scope["headers"]
    )


async def _send(reply: Reply, send: Send) -> None:
    size, kind = len(reply.content), reply.media_type.encode()
    headers = [(b"content-length", b"%d" % size), (b"content-type", kind)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": reply.content})
