"""Certificates as a table for people."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple, Self

from goodcert.client import Certificate


class TableRow(NamedTuple):
    """One line, as text; the names of the fields are the headings."""

    image: str
    prediction: str
    confidence: str
    guaranteed_bound: str
    verdict: str
    certified_radius: str = ""

    @classmethod
    def of(cls, image: str, certificate: Certificate) -> Self:
        return cls(
            image,
            certificate.prediction.label,
            digits(certificate.confidence, up=False),
            digits(certificate.confidence_upper_bound, up=True),
            certificate.verdict,
            "none" if certificate.certified_radius is None else str(certificate.certified_radius),
        )


def digits(value: float, *, up: bool) -> str:
    """Six decimals, rounded away from false comfort: a bound must not be shown lower than it is."""
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    return str(Decimal(value).quantize(Decimal("0.000001"), rounding=rounding))


def render(rows: Sequence[TableRow], *, radius: bool = False) -> str:
    """The rows under their headings, columns aligned; with the certified radius where it was asked for."""
    columns = len(TableRow._fields) if radius else len(TableRow._fields) - 1
    headings = TableRow(*(name.replace("_", " ") for name in TableRow._fields))
    lines = [line[:columns] for line in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
