"""What a certify request asks: its query, where each thing may be given once, and its headers; not its body."""

import asyncio
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple, cast, get_args
from urllib.parse import parse_qsl

from starlette.types import Scope

from goodcert.engine import Method
from goodcert.serve.batching.lanes import Priority
from goodcert.serve.certifier.certifier import Question, parse_radius
from goodcert.serve.core.errors import (
    BadPriority,
    BadRadius,
    BadSigned,
    BadTimeout,
    MediaTypeRefused,
    MethodNotOffered,
    RepeatedParameter,
    UnknownParameter,
)
from goodcert.serve.http.multipart import FORM
from goodcert.serve.http.service import Service
from goodcert.serve.proof.idempotency import HEADER as IDEMPOTENCY
from goodcert.serve.proof.idempotency import Once, caller_of, once
from goodcert.serve.recording.recorder import JOSE, Seal
from goodcert.serve.repository.repository import ServedModel

TIMEOUT = "X-Request-Timeout-Ms"
PRIORITY = "X-Priority"
_PRIORITY, _TIMEOUT, _ONCE = (name.lower().encode() for name in (PRIORITY, TIMEOUT, IDEMPOTENCY))

METHODS: tuple[str, ...] = get_args(Method)
PRIORITIES: tuple[str, ...] = get_args(Priority)
PARAMETERS = ("epsilon", "method", "radius", "signed")
SEARCH = {"true": True, "false": False}
RAW = ("image/png", "image/jpeg", "image/webp", "image/bmp", "application/octet-stream")
LONGEST_MS = 999_999_999
"""Eleven days: more digits are no time that anybody means."""

_UNSIGNED = Seal(None)


class CertifyParams(NamedTuple):
    """deadline: a time of the event loop's clock. media_type: without its parameters, which are in content_type.
    seal: the answer's form. key: makes the idempotency key that the request has, None where it has none; raises
    BadIdempotencyKey."""

    model: ServedModel
    question: Question
    deadline: float
    media_type: str
    content_type: str
    seal: Seal
    key: Callable[[bytes], Once | None] | None


def certify_params(service: Service, scope: Scope, name: str, version: str | None) -> CertifyParams:
    """Everything that can be refused is refused here, before the body is read.

    Raises ModelUnavailable, QueryRefused, MediaTypeRefused, SigningDisabled.
    """
    headers = dict(reversed(scope["headers"]))  # the first of a name counts
    model = service.repository.get(name, version)
    model.require_sound()
    question, signed = _query(scope["query_string"], model.metadata.epsilon)
    if _PRIORITY in headers:
        question = question._replace(priority=_priority(headers[_PRIORITY].decode("latin-1")))
    most_ms = service.settings.request_timeout_ms
    seconds = parse_timeout(headers.get(_TIMEOUT), most_ms)
    model.require_method(question.method)
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    kind = media_type(content_type)
    deadline = asyncio.get_running_loop().time() + seconds
    accept = headers.get(b"accept", b"")
    seal = _UNSIGNED if signed is None and b"jose" not in accept.lower() else _seal(service, signed, accept)
    key = _key(scope, headers) if _ONCE in headers else None
    return CertifyParams(model, question, deadline, kind, content_type, seal, key)


@lru_cache(maxsize=256)
def _query(query: bytes, default_epsilon: str) -> tuple[Question, str | None]:
    """Callers ask the same again and again. The second is whether a signature is wanted."""
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return parse_query(given, default_epsilon), dict(given).get("signed")


def parse_query(items: Sequence[tuple[str, str]], default_epsilon: str) -> Question:
    """What is asked of every image of the request. Raises QueryRefused."""
    given = dict(items)
    unknown = given.keys() - set(PARAMETERS)
    if unknown:
        raise UnknownParameter(f"{sorted(unknown)}")
    if len(given) < len(items):
        raise RepeatedParameter
    method, search = given.get("method", "ibp"), given.get("radius", "false")
    if method not in METHODS:
        raise MethodNotOffered
    if search not in SEARCH:
        raise BadRadius
    return Question(parse_radius(given.get("epsilon", default_epsilon)), cast(Method, method), SEARCH[search])


@lru_cache(maxsize=64)
def parse_timeout(text: bytes | None, most_ms: int) -> float:
    """Seconds from the header's milliseconds, `most_ms` where there is none. Raises BadTimeout."""
    if text is None:
        return most_ms / 1000
    if not (text.isdigit() and len(text) <= len(str(LONGEST_MS))):  # of bytes: ASCII digits only
        raise BadTimeout
    return timeout_seconds(int(text), most_ms)


def timeout_seconds(asked_ms: float, most_ms: int) -> float:
    """Seconds of a request whose caller asks for `asked_ms`; more than `most_ms` is cut. Raises BadTimeout."""
    if not asked_ms > 0:  # also refuses NaN
        raise BadTimeout
    return min(asked_ms, most_ms) / 1000


def _priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise BadPriority(text)
    return cast(Priority, text)


@lru_cache(maxsize=64)
def media_type(header: str) -> str:
    """The media type without its parameters. Raises MediaTypeRefused for one that is not taken."""
    name = header.partition(";")[0].strip().lower()
    if name != FORM and name not in RAW:
        raise MediaTypeRefused(name)
    return name


def asks_for_signature(signed: str | None, accept: str) -> bool:
    """Whether a signed certificate is wanted: by `signed` of the query, or else by the Accept header, which must
    name its type. Raises BadSigned."""
    if signed is not None:
        if signed not in SEARCH:
            raise BadSigned
        return SEARCH[signed]
    return any(item.split(";")[0].strip().lower() == JOSE for item in accept.split(","))


def _seal(service: Service, signed: str | None, accept: bytes) -> Seal:
    wanted = asks_for_signature(signed, accept.decode("latin-1"))
    return Seal(service.recorder.signer) if wanted else _UNSIGNED


def _key(scope: Scope, headers: dict[bytes, bytes]) -> Callable[[bytes], Once | None]:
    """All that the answer depends on but the body."""
    keys = [value.decode("latin-1") for name, value in scope["headers"] if name == _ONCE]
    credentials = headers.get(b"authorization") or headers.get(b"x-api-key")
    caller = caller_of(credentials.decode("latin-1") if credentials else None)
    told = (headers.get(name, b"") for name in (b"accept", b"content-type"))
    return partial(once, keys, caller, scope["path"].encode(), scope["query_string"], *told)
