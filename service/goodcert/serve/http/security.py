"""Who may ask and how much they may send, decided before a byte of the body is read.

Pure ASGI: the framework would read a form before any dependency of a route runs, so that strangers could
upload.
"""

from collections.abc import Mapping
from time import monotonic

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.serve.admission.in_flight import BytesInFlight
from goodcert.serve.admission.keyring import Allowance, Holder, Keyring
from goodcert.serve.admission.keys import KeysFileError
from goodcert.serve.admission.keys import Scope as KeyScope
from goodcert.serve.core.errors import (
    BadFraming,
    BodyTooLarge,
    KeyMissing,
    KeyWrong,
    ScopeMissing,
    ServeError,
)
from goodcert.serve.http.problems import Answers
from goodcert.serve.settings.settings import Settings, SettingsError

# Everything else, metrics included, needs a key where keys are configured.
# The keys are there for third parties, who verify what they were shown.
OPEN_PATHS = frozenset(
    {
        "/health/live",
        "/health/ready",
        "/health/started",
        "/v2/health/live",
        "/v2/health/ready",
        "/docs",
        "/openapi.json",
        "/v1/keys",
    }
)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ASKING = ("/certify", "/infer")
# These say something here; all others are the handlers' business.
_NAMES = frozenset({b"authorization", b"x-api-key", b"content-length", b"transfer-encoding"})

Headers = dict[bytes, list[bytes]]


def keyring(settings: Settings) -> Keyring:
    """The keys that the settings name. Raises SettingsError when their file cannot be read."""
    plain = [key.get_secret_value() for key in settings.api_keys]
    default = Allowance(settings.key_requests_per_second, settings.key_concurrency)
    try:
        return Keyring(plain, settings.keys_file, default)
    except KeysFileError as error:
        raise SettingsError(str(error)) from error


def admit(keyring: Keyring, headers: Mapping[str, str]) -> None:
    """Whether a stranger asks, before a message is read that Security will look at; names in lower case. Raises
    KeyMissing or KeyWrong."""
    if not keyring.asks:
        return
    key = _presented({name.encode(): [value.encode("latin-1")] for name, value in headers.items()})
    if key is None:
        raise KeyMissing
    if keyring.find(key, monotonic()) is None:
        raise KeyWrong


class Security:
    """ASGI middleware: API keys with their scopes and limits, framing, and the size of bodies, announced or
    streamed, of one request and of all that are being answered together."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring,
        max_body_bytes: int,
        in_flight: BytesInFlight,
        answers: Answers,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._max_body_bytes = max_body_bytes
        self._in_flight = in_flight
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = _headers(scope)
            length = _length(headers)
            holder, started = self._enter(scope, headers), monotonic()
            try:
                await self._meter(length, scope, receive, send)
            finally:
                if holder is not None:
                    holder.leave(monotonic() - started)
        except ServeError as error:
            await self._answers.response(error)(scope, receive, send)

    def _enter(self, scope: Scope, headers: Headers) -> Holder | None:
        """Whose key lets the request in; None where none is asked for. Raises KeyRefused or RetryLater."""
        path = scope["path"]
        if not self._keyring.asks or path in OPEN_PATHS:
            return None
        key = _presented(headers)
        if key is None:
            raise KeyMissing
        now = monotonic()
        holder = self._keyring.find(key, now)
        if holder is None:
            raise KeyWrong
        if scope_of(scope["method"], path) not in holder.scopes:
            raise ScopeMissing(holder.name)
        holder.enter(now)
        return holder

    async def _meter(self, length: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application read, refusing to go on once a body has grown too large, or all together have.

        What was read counts until the answer is sent; what was only announced does not, so that announcing much
        and sending nothing keeps nobody out.
        """
        self._require_allowed(length)
        self._in_flight.require_room(length)
        seen = 0

        async def metered() -> Message:
            nonlocal seen
            message = await receive()
            size = len(message.get("body", b""))
            self._require_allowed(seen + size)
            self._in_flight.add(size)
            seen += size
            return message

        try:
            await self._app(scope, metered, send)
        finally:
            self._in_flight.take_away(seen)

    def _require_allowed(self, size_bytes: int) -> None:
        """Whether one body may have so many bytes. Raises BodyTooLarge."""
        if size_bytes > self._max_body_bytes:
            raise BodyTooLarge


def scope_of(method: str, path: str) -> KeyScope:
    """What a key must be good for; whatever is not known to be harmless needs `admin`."""
    if path == "/metrics":
        return "metrics"
    if method in _READING or path == "/v2/repository/index":
        return "read"
    if method == "POST" and path.endswith(_ASKING):
        return "certify"
    return "admin"


def _headers(scope: Scope) -> Headers:
    found: Headers = {}
    for name, value in scope["headers"]:
        if name in _NAMES:
            found.setdefault(name, []).append(value)
    return found


def _length(headers: Headers) -> int:
    """What the caller announces, 0 without an announcement. Raises BadFraming."""
    lengths = headers.get(b"content-length")
    if lengths is None:
        return 0
    if len(lengths) > 1 or b"transfer-encoding" in headers or not lengths[0].isdigit():
        raise BadFraming
    # int() of a very long number is slow and refused.
    return int(lengths[0]) if len(lengths[0]) <= 18 else 10**18


def _presented(headers: Headers) -> bytes | None:
    """The key of the first header that can carry one."""
    scheme, _, key = headers.get(b"authorization", [b""])[0].partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", [None])[0]
