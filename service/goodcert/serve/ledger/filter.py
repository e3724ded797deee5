"""Parses the query of `GET /v1/certificates`: filters, page size and cursor."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from goodcert.serve.core import timestamps
from goodcert.serve.core.errors import BadFilter
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.repository.files import NAME

MOST = 1000
WHOLE = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

_NAMES = frozenset({"model", "verdict", "since", "cursor", "limit"})
_VERDICTS = frozenset({None, *(verdict.value for verdict in Verdict)})


class Filter(NamedTuple):
    """Which certificates are wanted; None is no restriction. since: as `issued_at` has it. before: only
    those with a lower number. limit: at most so many."""

    model: str | None = None
    verdict: str | None = None
    since: str | None = None
    before: int | None = None
    limit: int = 100


def parse_filter(items: Sequence[tuple[str, str]]) -> Filter:
    """The filter in a query, given as pairs of name and value. Raises BadFilter."""
    given = dict(items)
    if len(given) < len(items) or given.keys() - _NAMES:
        raise BadFilter
    model, verdict, limit = given.get("model"), given.get("verdict"), _whole(given.get("limit", "100"))
    if (model is not None and not NAME.fullmatch(model)) or verdict not in _VERDICTS or limit > MOST:
        raise BadFilter
    since = _time(given["since"]) if "since" in given else None
    before = _whole(given["cursor"]) if "cursor" in given else None
    return Filter(model, verdict, since, before, limit)


def _whole(text: str) -> int:
    if not WHOLE.fullmatch(text):
        raise BadFilter
    return int(text)


def _time(text: str) -> str:
    try:
        return timestamps.parse(text)
    except ValueError as error:
        raise BadFilter from error
