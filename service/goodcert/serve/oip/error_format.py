"""Every refusal under /v2 in the protocol's own form, whoever refuses: `{"error": "..."}`."""

from http import HTTPStatus

import orjson
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.serve.http.problems import MEDIA_TYPE

ROOT = "/v2"


def is_protocol(path: str) -> bool:
    """Whether the protocol answers at this path."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def error_body(sentence: str) -> bytes:
    return orjson.dumps({"error": sentence})


class ErrorFormat:
    """ASGI middleware: translates the problem documents of what lies inside it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        translates = scope["type"] == "http" and is_protocol(scope["path"])
        await self._app(scope, receive, _Translation(send).send if translates else send)


class _Translation:
    """Holds a refusal back until its body is there."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_foreign(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        headers = MutableHeaders(raw=list(start["headers"]))
        body = error_body(_sentence(start["status"], headers, self._body))
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(body))
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


def _is_foreign(start: Message) -> bool:
    json = (b"content-type", b"application/json")
    return start["status"] != HTTPStatus.OK and json not in start["headers"]


def _sentence(status: int, headers: MutableHeaders, body: bytes) -> str:
    if headers.get("content-type") == MEDIA_TYPE:
        return str(orjson.loads(body)["detail"])
    return HTTPStatus(status).phrase
