"""What a certify request asks, read off everything but its body."""

import asyncio
from functools import lru_cache
from typing import NamedTuple, cast, get_args
from urllib.parse import parse_qsl

from starlette.types import Scope

from goodcert.serve.batching import Priority
from goodcert.serve.certify import Question
from goodcert.serve.deadline import HEADER as TIMEOUT
from goodcert.serve.deadline import parse_timeout
from goodcert.serve.errors import BadPriority
from goodcert.serve.forms import media_type
from goodcert.serve.query import parse_query
from goodcert.serve.repository import ServedModel
from goodcert.serve.service import Service

PRIORITY = "X-Priority"
_PRIORITY, _TIMEOUT = (name.lower().encode() for name in (PRIORITY, TIMEOUT))
PRIORITIES: tuple[str, ...] = get_args(Priority)


class Asked(NamedTuple):
    """deadline: a time of the event loop's clock. media_type: without its parameters."""

    model: ServedModel
    question: Question
    deadline: float
    media_type: str


def asked(service: Service, scope: Scope, name: str, version: str | None) -> Asked:
    """Everything that can be refused is refused here, before the body is read.

    Raises ModelUnavailable, QueryRefused, MediaTypeRefused.
    """
    headers = dict(reversed(scope["headers"]))  # the first of a name counts
    model = service.repository.get(name, version)
    model.require_sound()
    question = _question(scope["query_string"], model.metadata.epsilon)
    if _PRIORITY in headers:
        question = question._replace(priority=_priority(headers[_PRIORITY].decode("latin-1")))
    seconds = parse_timeout(headers.get(_TIMEOUT), service.settings.request_timeout_ms)
    model.require_method(question.method)
    kind = media_type(headers.get(b"content-type", b"").decode("latin-1"))
    return Asked(model, question, asyncio.get_running_loop().time() + seconds, kind)


@lru_cache(maxsize=256)
def _question(query: bytes, default_epsilon: str) -> Question:
    """Callers ask the same again and again."""
    return parse_query(parse_qsl(query.decode("latin-1"), keep_blank_values=True), default_epsilon)


def _priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise BadPriority(text)
    return cast(Priority, text)
