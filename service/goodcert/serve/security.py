"""Who may ask and how much they may send, decided before a byte of the body is read.

Pure ASGI: the framework would read a form before any dependency of a route runs, so that strangers could
upload.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.serve.errors import BadFraming, BodyTooLarge, KeyMissing, KeyWrong, ServeError
from goodcert.serve.problems import Answers

# Everything else, metrics included, needs a key where keys are configured.
# The keys are there for third parties, who verify what they were shown.
OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/docs", "/openapi.json", "/v1/keys"})


class Security:
    """ASGI middleware: API keys, framing, and the size of bodies, announced or streamed."""

    def __init__(self, app: ASGIApp, *, keys: Iterable[str], max_body_bytes: int, answers: Answers) -> None:
        self._app = app
        self._digests = [sha256(key.encode()).digest() for key in keys]
        self._max_body_bytes = max_body_bytes
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_key(scope["path"], headers)
            self._check_length(headers)
        except ServeError as error:
            await self._answers.response(error)(scope, receive, send)
            return
        await self._app(scope, self._metered(receive), send)

    def _check_key(self, path: str, headers: Headers) -> None:
        if not self._digests or path in OPEN_PATHS:
            return
        key = _presented(headers)
        if key is None:
            raise KeyMissing
        digest = sha256(key.encode("latin-1")).digest()
        # Every comparison is made: the time tells neither how much of a key is right nor which one.
        if not sum([hmac.compare_digest(digest, known) for known in self._digests]):
            raise KeyWrong

    def _check_length(self, headers: Headers) -> None:
        lengths = headers.getlist("content-length")
        if not lengths:
            return
        if (
            len(lengths) > 1
            or "transfer-encoding" in headers
            or not (lengths[0].isascii() and lengths[0].isdigit())
        ):
            raise BadFraming
        # Compared by digits first: int() of a very long number is slow and refused.
        if len(lengths[0]) > 18 or int(lengths[0]) > self._max_body_bytes:
            raise BodyTooLarge

    def _metered(self, receive: Receive) -> Receive:
        """`receive`, refusing to go on once a body, chunked perhaps, has grown too large."""
        seen = 0

        async def metered() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body_bytes:
                raise BodyTooLarge
            return message

        return metered


def _presented(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
