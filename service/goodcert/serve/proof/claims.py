"""The schema of the claims of a certificate: for each format a table from the name to the rule for its value.

A format never changes once certificates of it exist, so its table takes no constant from elsewhere; a change makes
a new format. Format 1 is the one whose certificates do not name theirs. Needs nothing but the standard library.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from goodcert.serve.core import timestamps


class ClaimsRefused(ValueError):
    """What was signed is not what its format lets it be; the message names every claim at fault."""


class UnknownFormat(ValueError):
    """A certificate of a format that this version does not know."""


@dataclass(frozen=True)
class Claim:
    """One value. expected: what it has to be, in words. holds: whether it is; takes any JSON value."""

    expected: str
    holds: Callable[[Any], bool]


Table: TypeAlias = Mapping[str, "Claim | Table"]


def one_of(*values: str) -> Claim:
    return Claim(" or ".join(values), lambda value: isinstance(value, str) and value in values)


def whole(least: int) -> Claim:
    return Claim(f"a whole number from {least}", lambda value: type(value) is int and value >= least)


def matching(expected: str, pattern: str) -> Claim:
    compiled = re.compile(pattern, re.ASCII)
    return Claim(expected, lambda value: isinstance(value, str) and bool(compiled.fullmatch(value)))


def _number(expected: str, holds: Callable[[float], bool]) -> Claim:
    return Claim(
        expected, lambda value: isinstance(value, int | float) and not isinstance(value, bool) and holds(value)
    )


def _is_text(value: Any) -> bool:
    """Unicode without lone surrogates, which cannot be written."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _are_labels(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and 0 < len(value) == len(set(value))


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and timestamps.parse(value) == value
    except ValueError:
        return False


SHA256 = matching("64 hexadecimal digits", "[0-9a-f]{64}")
NAME = matching("a name of a-z, 0-9, '.', '_' and '-'", r"[a-z0-9][a-z0-9._-]*")
VERSION = matching("a whole number of at most 9 digits", r"0|[1-9][0-9]{0,8}")
LABEL = Claim("Unicode text", _is_text)
PRINTABLE = Claim("printable text", lambda value: isinstance(value, str) and value.isprintable() and value != "")
RADIUS = _number("a number in [0, 1]", lambda value: 0 <= value <= 1)
PROBABILITY = _number("a number in (0, 1]", lambda value: 0 < value <= 1)
THRESHOLD = _number("a number in (0, 1)", lambda value: 0 < value < 1)
TIME = Claim("a time such as 2026-01-31T12:00:00.000000Z", _is_time)

FORMAT_1: Table = {
    "id": matching("32 hexadecimal digits", "[0-9a-f]{32}"),
    "model": {"name": NAME, "version": VERSION, "sha256": SHA256},
    "image": {
        "sha256": SHA256,
        "format": one_of("PNG", "JPEG", "WEBP", "BMP"),
        "width": whole(1),
        "height": whole(1),
    },
    "epsilon": RADIUS,
    "norm": one_of("linf"),
    "scope": one_of("upload", "model_input"),
    "method": one_of("ibp", "crown"),
    "prediction": {"index": whole(0), "label": LABEL},
    "confidence": PROBABILITY,
    "confidence_upper_bound": PROBABILITY,
    "confidence_lower_bound": PROBABILITY,
    "possible_labels": Claim("a list of labels, none of them twice", _are_labels),
    "threshold": THRESHOLD,
    "verdict": one_of(
        "in_distribution_certified",
        "in_distribution",
        "out_of_distribution_certified",
        "out_of_distribution",
    ),
    "certified_radius": Claim(f"{RADIUS.expected} or null", lambda value: value is None or RADIUS.holds(value)),
    "issued_at": TIME,
    "engine": {"version": PRINTABLE, "device": one_of("cpu", "cuda")},
}
FORMAT_2: Table = {"format": Claim("2", lambda value: value == 2), **FORMAT_1}

FORMATS: Mapping[int, Table] = {1: FORMAT_1, 2: FORMAT_2}
NEWEST = max(FORMATS)


def read(payload: bytes) -> dict[str, Any]:
    """The certificate in the JSON that was signed, with the claims of its format, all of them and no others.

    Raises ClaimsRefused and UnknownFormat.
    """
    body = parse(payload)
    number = body.get("format", 1)
    if type(number) is not int or number < 1:
        raise ClaimsRefused(f"format: stated {shown(number)}, expected a whole number")
    if number not in FORMATS:
        raise UnknownFormat(f"a certificate of format {number}, this version knows 1 to {NEWEST}: use a newer one")
    if found := list(faults(body, FORMATS[number], f"format {number}")):
        raise ClaimsRefused("; ".join(found))
    return body


def parse(payload: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8, no name twice in it. Raises ClaimsRefused."""
    try:
        document = json.loads(payload.decode(), object_pairs_hook=_without_repetition, parse_constant=_refuse)
    except ClaimsRefused:
        raise
    except (ValueError, RecursionError) as error:
        raise ClaimsRefused(f"what was signed is no JSON ({type(error).__name__})") from error
    if not isinstance(document, dict):
        raise ClaimsRefused("what was signed is no JSON object")
    return document


def faults(document: Mapping[str, Any], table: Table, kind: str, place: str = "") -> Iterator[str]:
    """What is not as `table` has it, a sentence each. kind: what the table is of. place: where the document is."""
    for name in document:
        if name not in table:
            yield f"{place}{name if name.isidentifier() else shown(name)}: unknown to {kind}"
    for name, claim in table.items():
        if name not in document:
            yield f"{place}{name}: missing"
        elif isinstance(claim, Claim):
            if not claim.holds(document[name]):
                yield f"{place}{name}: stated {shown(document[name])}, expected {claim.expected}"
        elif isinstance(document[name], Mapping):
            yield from faults(document[name], claim, kind, f"{place}{name}.")
        else:
            yield f"{place}{name}: stated {shown(document[name])}, expected an object"


def shown(value: object) -> str:
    """For people, and never long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ClaimsRefused(f"{shown(twice)}: stated twice")
    return document


def _refuse(constant: str) -> None:
    raise ClaimsRefused(f"{constant}: no number of JSON")
