"""Where every request for certificates arrives that speaks HTTP: an image or a form in, certificates out.

In front of the framework, which documents these paths and serves the rest: its own cost would be several times
that of everything else here.
"""

from collections.abc import Callable
from functools import lru_cache, partial

from starlette.types import ASGIApp, Receive, Scope, Send

from goodcert.serve.core.errors import EmptyBody
from goodcert.serve.http.certify_form import certify_form
from goodcert.serve.http.multipart import FORM
from goodcert.serve.http.params import CertifyParams, certify_params
from goodcert.serve.http.schemas import certificate_body
from goodcert.serve.http.service import Service
from goodcert.serve.recording.recorder import Reply


class CertifyEndpoint:
    """ASGI middleware; `service` is there once the application has started."""

    def __init__(self, app: ASGIApp, service: Callable[[], Service]) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _named(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if named is None:
            await self._app(scope, receive, send)
            return
        reply = await certify(self._service(), scope, receive, *named)
        size, kind = b"%d" % len(reply.content), reply.media_type.encode()
        headers = [(b"content-length", size), (b"content-type", kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.content})


async def certify(service: Service, scope: Scope, receive: Receive, name: str, version: str | None) -> Reply:
    """What the request is answered. Raises ServeError; what can be refused is refused before the body is read."""
    asked = certify_params(service, scope, name, version)
    with service.disconnects.attend(receive, asked.deadline) as call:
        body = await call.body()
        if not body:
            raise EmptyBody
        if asked.key is not None and (once := asked.key(body)):
            make = partial(_reply, service, asked, body)
            return await service.recorder.answer_once(make, once, asked.deadline)
        return await service.recorder.record(await _reply(service, asked, body), asked.deadline)


async def _reply(service: Service, asked: CertifyParams, body: bytes) -> Reply:
    if asked.media_type == FORM:
        return await certify_form(service, asked, body)
    certificate = await service.certifier.certify(body, asked.model, asked.question, asked.deadline)
    return asked.seal.one(certificate_body(certificate), body)


@lru_cache(maxsize=256)
def _named(path: str) -> tuple[str, str | None] | None:
    """The model and its version, of the path of a certify request; None for any other."""
    match path.split("/"):
        case ["", "v1", "models", name, "certify"] if name:
            return name, None
        case ["", "v1", "models", name, "versions", version, "certify"] if name and version:
            return name, version
    return None
