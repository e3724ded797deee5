"""The query of a list of recorded certificates."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from goodcert.serve import timestamp
from goodcert.serve.errors import BadFilter
from goodcert.serve.verdict import Verdict

MOST = 1000
WHOLE = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)

_NAMES = frozenset({"model", "verdict", "since", "cursor", "limit"})
_VERDICTS = ("", *(verdict.value for verdict in Verdict))


class Filter(NamedTuple):
    """Which certificates are wanted; "" and None are no restriction. since: as `issued_at` has it. before: only
    those with a lower number. limit: at most so many."""

    model: str = ""
    verdict: str = ""
    since: str = ""
    before: int | None = None
    limit: int = 100


def parse_filter(items: Sequence[tuple[str, str]]) -> Filter:
    """Raises BadFilter."""
    given = dict(items)
    verdict, limit = given.get("verdict", ""), _whole(given.get("limit", "100"))
    if len(given) < len(items) or given.keys() - _NAMES or verdict not in _VERDICTS or limit > MOST:
        raise BadFilter
    model = given.get("model", "")
    if not model.isprintable():  # PostgreSQL has no text with a NUL in it
        raise BadFilter
    before = _whole(given["cursor"]) if "cursor" in given else None
    return Filter(model, verdict, _time(given.get("since", "")), before, limit)


def _whole(text: str) -> int:
    if not WHOLE.fullmatch(text):
        raise BadFilter
    return int(text)


def _time(text: str) -> str:
    try:
        return timestamp.parse(text) if text else ""
    except ValueError as error:
        raise BadFilter from error
