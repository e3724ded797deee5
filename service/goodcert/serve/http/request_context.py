"""What a certify request asks, read off everything but its body."""

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple, cast, get_args
from urllib.parse import parse_qsl

from starlette.types import Scope

from goodcert.serve.batching.lanes import Priority
from goodcert.serve.certifier.certifier import Question
from goodcert.serve.core.errors import BadPriority
from goodcert.serve.http.multipart import media_type
from goodcert.serve.http.params import asks_for_signature, parse_query
from goodcert.serve.http.request_timeout import HEADER as TIMEOUT
from goodcert.serve.http.request_timeout import parse_timeout
from goodcert.serve.http.service import Service
from goodcert.serve.proof.idempotency import HEADER as IDEMPOTENCY
from goodcert.serve.proof.idempotency import Once, caller_of, once
from goodcert.serve.recording.recorder import Seal
from goodcert.serve.repository.repository import ServedModel

PRIORITY = "X-Priority"
_PRIORITY, _TIMEOUT, _ONCE = (name.lower().encode() for name in (PRIORITY, TIMEOUT, IDEMPOTENCY))
PRIORITIES: tuple[str, ...] = get_args(Priority)


class RequestContext(NamedTuple):
    """deadline: a time of the event loop's clock. media_type: without its parameters. seal: the answer's form.
    key: makes the idempotency key that the request has, None where it has none."""

    model: ServedModel
    question: Question
    deadline: float
    media_type: str
    seal: Seal
    key: Callable[[bytes], Once | None] | None

    def once(self, body: bytes) -> Once | None:
        """Raises BadIdempotencyKey."""
        return self.key(body) if self.key else None


def request_context(service: Service, scope: Scope, name: str, version: str | None) -> RequestContext:
    """Everything that can be refused is refused here, before the body is read.

    Raises ModelUnavailable, QueryRefused, MediaTypeRefused.
    """
    headers = dict(reversed(scope["headers"]))  # the first of a name counts
    model = service.repository.get(name, version)
    model.require_sound()
    question, signed = _question(scope["query_string"], model.metadata.epsilon)
    if _PRIORITY in headers:
        question = question._replace(priority=_priority(headers[_PRIORITY].decode("latin-1")))
    seconds = parse_timeout(headers.get(_TIMEOUT), service.settings.request_timeout_ms)
    model.require_method(question.method)
    kind = media_type(headers.get(b"content-type", b"").decode("latin-1"))
    deadline = asyncio.get_running_loop().time() + seconds
    seal = _seal(service, signed, headers.get(b"accept", b""))
    return RequestContext(
        model, question, deadline, kind, seal, _key(scope, headers) if _ONCE in headers else None
    )


@lru_cache(maxsize=256)
def _question(query: bytes, default_epsilon: str) -> tuple[Question, str | None]:
    """Callers ask the same again and again. The second is whether a signature is wanted."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return parse_query(given, default_epsilon), dict(given).get("signed")


_UNSIGNED = Seal(None)


def _seal(service: Service, signed: str | None, accept: bytes) -> Seal:
    """Raises SigningDisabled, BadSigned."""
    if signed is None and b"jose" not in accept.lower():
        return _UNSIGNED
    wanted = asks_for_signature(signed, accept.decode("latin-1"))
    return Seal(service.recorder.signer) if wanted else _UNSIGNED


def _key(scope: Scope, headers: dict[bytes, bytes]) -> Callable[[bytes], Once | None]:
    """All that the answer depends on but the body."""
    keys = [value.decode("latin-1") for name, value in scope["headers"] if name == _ONCE]
    credentials = headers.get(b"authorization") or headers.get(b"x-api-key")
    caller = caller_of(credentials.decode("latin-1") if credentials else None)
    told = (headers.get(name, b"") for name in (b"accept", b"content-type"))
    return partial(once, keys, caller, scope["path"].encode(), scope["query_string"], *told)


def _priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise BadPriority(text)
    return cast(Priority, text)
