"""What every request passes first, over HTTP and gRPC alike: it gets its id, is counted, and is let in or refused.

An id that the caller sent in X-Request-Id is kept if it is sane; it is in every line of the log about the request.
Whose key it is, and how much it may send, is decided before a byte of the body is read.
"""

import logging
import re
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import count
from secrets import token_hex
from time import monotonic, perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Self

from goodcert.serve.admission.keyring import Holder, Keyring
from goodcert.serve.admission.keys import Scope as KeyScope
from goodcert.serve.core.errors import (
    BadFraming,
    BodiesFull,
    BodyTooLarge,
    CallerGone,
    KeyMissing,
    KeyWrong,
    ScopeMissing,
    ServeError,
    ShuttingDown,
)
from goodcert.serve.core.lifecycle import Lifecycle, LifecyclePhase
from goodcert.serve.core.logs import request_id
from goodcert.serve.telemetry.metrics import Metrics

if TYPE_CHECKING:  # an extra
    from goodcert.serve.telemetry.tracing import RequestSpan, Traces

log = logging.getLogger("goodcert.serve")
access = logging.getLogger("goodcert.access")

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

ID_HEADER = b"x-request-id"
# Enough for UUIDs, ULIDs, and what proxies make; nothing that could break a line of a log or a header.
_SANE_ID = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
# These say something here; all others are the handlers' business.
_NAMES = frozenset({b"authorization", b"x-api-key", b"content-length", b"transfer-encoding", ID_HEADER})

_HEALTH = frozenset({"/health/live", "/health/ready", "/health/started", "/v2/health/live", "/v2/health/ready"})
# Everything else, metrics included, needs a key where keys are configured.
# The public keys are there for third parties, who verify what they were shown.
OPEN_PATHS = _HEALTH | {"/docs", "/openapi.json", "/v1/keys"}
# Asked by whoever watches the end.
_ANSWERED_TO_THE_END = _HEALTH | {"/metrics"}
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ASKING = (("/v1/models/", "/certify"), ("/v2/models/", "/infer"))
UNKNOWN = "unknown"


class BytesInFlight:
    """How much of requests is in memory: the bytes of all bodies under way have a limit together. On the event
    loop, so nothing needs a lock."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0

    def require_room(self, size_bytes: int) -> None:
        """Whether so many bytes more may be under way. Raises BodiesFull."""
        if self._bytes + size_bytes > self._most_bytes:
            raise BodiesFull(1)

    def add(self, size_bytes: int) -> None:
        """Whoever adds takes away again. Raises BodiesFull."""
        self.require_room(size_bytes)
        self._bytes += size_bytes

    def take_away(self, size_bytes: int) -> None:
        self._bytes -= size_bytes

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """A context in which so many bytes are under way. Raises BodiesFull."""
        self.add(size_bytes)
        try:
            yield
        finally:
            self.take_away(size_bytes)


class Admission:
    """Lets requests in. names: the models that are served; a name of another counts as `unknown`, so that callers
    invent no labels. traces: None where they are off."""

    def __init__(
        self,
        keyring: Keyring,
        in_flight: BytesInFlight,
        max_body_bytes: int,
        lifecycle: Lifecycle,
        metrics: Metrics,
        names: Callable[[], Container[str]],
        access_log: bool = False,
        traces: "Traces | None" = None,
    ) -> None:
        self.keyring, self.in_flight, self.max_body_bytes = keyring, in_flight, max_body_bytes
        self.lifecycle, self.access_log, self.traces = lifecycle, access_log, traces
        self._metrics, self._names = metrics, names
        self._prefix = token_hex(8).encode()
        self._numbers = count()

    def visit(self, method: str, path: str, headers: Headers) -> "Visit":
        """A context for a request, from here to its answer; method and path as HTTP has them."""
        return Visit(self, method, path, headers)

    def holder(self, headers: Headers) -> Holder:
        """Whose key the headers bear. Raises KeyMissing or KeyWrong."""
        return self._holder(_known(headers))

    def _holder(self, known: dict[bytes, list[bytes]]) -> Holder:
        """By the first header that can carry a key."""
        scheme, _, key = known.get(b"authorization", [b""])[0].partition(b" ")
        presented = key.strip() if scheme.lower() == b"bearer" else known.get(b"x-api-key", [None])[0]
        if presented is None:
            raise KeyMissing
        holder = self.keyring.find(presented, monotonic())
        if holder is None:
            raise KeyWrong
        return holder

    def new_id(self) -> bytes:
        return b"%s-%x" % (self._prefix, next(self._numbers))

    def count(self, path: str, status: int) -> None:
        """Requests for certificates, by model and status; a status of 0 is none, which the server makes a 500."""
        if (name := _model_asked(path)) is not None:
            label = name if name in self._names() else UNKNOWN
            self._metrics.requests[label, str(status or 500)].inc()


class Visit:
    """One request: `with admission.visit(...) as visit`. Whoever answers it sets its `status`."""

    def __init__(self, admission: Admission, method: str, path: str, headers: Headers) -> None:
        self._admission, self._method, self._path, self._headers = admission, method, path, headers
        self._known = known = _known(headers)
        sane = (value for value in known.get(ID_HEADER, ()) if _SANE_ID.fullmatch(value))
        self.id = next(sane, None) or admission.new_id()
        self.status = 0
        self._body_bytes = 0
        self._holder: Holder | None = None
        self._span: RequestSpan | None = None
        self._started = perf_counter()

    def __enter__(self) -> Self:
        self._token = request_id.set(self.id.decode())
        self._admission.lifecycle.in_flight += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        admission, seconds = self._admission, perf_counter() - self._started
        if self._holder is not None:
            self._holder.leave(seconds)
        admission.in_flight.take_away(self._body_bytes)
        if self._span is not None:
            self._span.end(self.status)
        admission.lifecycle.in_flight -= 1
        admission.count(self._path, self.status)
        if admission.access_log:  # without query and address
            fields = {"method": self._method, "path": self._path, "status": self.status}
            access.info("request", extra={"fields": fields | {"seconds": round(seconds, 6)}})
        request_id.reset(self._token)

    def admit(self) -> None:
        """Let the request in. Raises ShuttingDown, BadFraming, KeyRefused, RetryLater, BodyTooLarge."""
        admission, path = self._admission, self._path
        if admission.lifecycle.phase is LifecyclePhase.REFUSING and path not in _ANSWERED_TO_THE_END:
            raise ShuttingDown
        if admission.traces is not None:
            self._span = admission.traces.begin(self._method, path, self._headers)
        length = _length(self._known)
        if admission.keyring.asks and path not in OPEN_PATHS:
            holder = admission._holder(self._known)
            if scope_of(self._method, path) not in holder.scopes:
                raise ScopeMissing(holder.name)
            holder.enter(monotonic())
            self._holder = holder
        if length > admission.max_body_bytes:
            raise BodyTooLarge
        # What was only announced does not count: announcing much and sending nothing keeps nobody out.
        admission.in_flight.require_room(length)

    def take(self, size_bytes: int) -> None:
        """So many bytes of the body have come; they count until the answer is sent. Raises BodyTooLarge where the
        body has grown too large, and BodiesFull where all together have."""
        if self._body_bytes + size_bytes > self._admission.max_body_bytes:
            raise BodyTooLarge
        self._admission.in_flight.add(size_bytes)
        self._body_bytes += size_bytes

    def cut_off(self) -> ServeError:
        """Why a request was cancelled: its caller hung up, or the process must end and waits no longer."""
        return ShuttingDown() if self._admission.lifecycle.phase is LifecyclePhase.REFUSING else CallerGone()

    def fail(self, error: Exception) -> None:
        """Note the error that is being handled and was not foreseen: the log gets its places."""
        log.exception("a request failed")
        if self._span is not None:
            self._span.fail(error)


def scope_of(method: str, path: str) -> KeyScope:
    """What a key must be good for; whatever is not known to be harmless needs `admin`."""
    if path == "/metrics":
        return "metrics"
    if method in _READING or path == "/v2/repository/index":
        return "read"
    if method == "POST" and path.endswith(("/certify", "/infer")):
        return "certify"
    return "admin"


@lru_cache(maxsize=256)
def _model_asked(path: str) -> str | None:
    """The model that certificates are asked of; None for any other request."""
    asks = (path.startswith(start) and path.endswith(end) for start, end in _ASKING)
    return path.split("/")[3] if any(asks) else None


def _known(headers: Headers) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _NAMES:
            found.setdefault(name, []).append(value)
    return found


def _length(known: dict[bytes, list[bytes]]) -> int:
    """What the caller announces, 0 without an announcement. Raises BadFraming."""
    lengths = known.get(b"content-length")
    if lengths is None:
        return 0
    if len(lengths) > 1 or b"transfer-encoding" in known or not lengths[0].isdigit():
        raise BadFraming
    # int() of a very long number is slow and refused.
    return int(lengths[0]) if len(lengths[0]) <= 18 else 10**18
