"""One JSON object of an answer, read field by field, every field by name and type."""

import sys
from collections.abc import Mapping
from typing import Any

from goodcert.client.errors import UnreadableAnswer

_ABSENT = object()


class Fields:
    """Reads a JSON object; what is missing or of another type raises UnreadableAnswer with its place.

    Fields that nobody asks for are left alone, so that a newer service can say more.
    """

    def __init__(self, document: object, place: str) -> None:
        if not isinstance(document, Mapping):
            raise UnreadableAnswer(f"{place}: expected a JSON object, got {_shown(document)}")
        self.raw: Mapping[str, Any] = document
        self._place = place

    def text(self, name: str) -> str:
        """A string. Raises UnreadableAnswer for anything else, as the other methods do for theirs."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._unlike(name, "a string", value)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._unlike(name, "a list of strings", value)
        return tuple(value)

    def integer(self, name: str) -> int:
        """A whole number; true and false are none."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unlike(name, "a whole number", value)
        return value

    def number(self, name: str) -> float:
        """A finite number: NaN and infinities have no place in a certificate."""
        value = self._get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
            raise self._unlike(name, "a finite number", value)
        return float(value)

    def number_or_none(self, name: str) -> float | None:
        """A finite number or null; the field must be there all the same."""
        return None if self._get(name) is None else self.number(name)

    def nested(self, name: str) -> "Fields":
        """The object inside this one."""
        return Fields(self._get(name), f"{self._place}.{name}")

    def items(self, name: str) -> list[object]:
        """A list of anything."""
        value = self._get(name)
        if not isinstance(value, list):
            raise self._unlike(name, "a list", value)
        return value

    def _get(self, name: str) -> object:
        value = self.raw.get(name, _ABSENT)
        if value is _ABSENT:
            known = ", ".join(sorted(self.raw)) or "no fields"
            raise UnreadableAnswer(
                f"{self._place}: field {name!r} is missing, got {known}; is base_url a goodcert service, "
                f"and does its version fit this client?"
            )
        return value

    def _unlike(self, name: str, expected: str, value: object) -> UnreadableAnswer:
        return UnreadableAnswer(f"{self._place}.{name}: expected {expected}, got {_shown(value)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
