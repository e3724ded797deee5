"""Validation of rows read back from the database: SQLite stores any type in any column, and a table may have been
recreated without its constraints. A malformed row is reported as damage, and never raises a conversion error.
"""

from collections.abc import Callable, Generator, Mapping
from functools import cache, partial
from typing import Any, TypeAlias

import orjson
from sqlalchemy import Column, Connection, Row, Table, select, type_coerce
from sqlalchemy.types import NullType

from goodcert.serve.proof.claims import shown

DIGEST_BYTES = 32
_AT_ONCE = 1000
_KINDS: Mapping[type, str] = {
    int: "a whole number", str: "text", bytes: "bytes", bool: "true or false", type(None): "NULL",
    float: "a number",
}  # fmt: skip


AnyRow: TypeAlias = Row[tuple[Any, ...]]


class Damaged(ValueError):
    """A row that is not as it was written; the message names it."""


def raw(column: Column[Any]) -> Any:
    """The column without a conversion, which fails where the value is of another type."""
    return type_coerce(column, NullType()).label(column.name)


def rows(connection: Connection, table: Table) -> Generator[AnyRow, None, None]:
    """All of `table`, by number, some at a time, and nothing in it left out. Whoever stops early closes it."""
    _read_any_text(connection)
    query = select(*map(raw, table.c)).order_by(table.c.seq)
    with connection.execute(query, execution_options={"yield_per": _AT_ONCE}) as found:
        yield from found


def damage(row: AnyRow, table: Table) -> str | None:
    """The first column of `row` that holds what it cannot, in words."""
    for value, (name, expected, also) in zip(row, _kinds(table), strict=True):
        if type(value) is not expected and not also(value):
            return f"its {name} is {_kind(value)}, expected {_KINDS[expected]}"
    length = len(row.digest)
    return None if length == DIGEST_BYTES else f"its digest has {length} bytes, expected {DIGEST_BYTES}"


@cache
def _kinds(table: Table) -> list[tuple[str, type, Callable[[object], bool]]]:
    """For each column its name, the type of its values, and whether it may hold another one all the same."""
    return [(column.name, column.type.python_type, partial(_also, column)) for column in table.c]


def _also(column: Column[Any], value: object) -> bool:
    """NULL where it may be; SQLite keeps true and false as 1 and 0."""
    if value is None:
        return bool(column.nullable)
    return column.type.python_type is bool and type(value) is int and value in (0, 1)


def body_of(seq: object, body: object) -> dict[str, Any]:
    """The certificate in a row. Raises Damaged."""
    if not isinstance(body, bytes):
        raise Damaged(f"certificate {shown(seq)}: its body is {_kind(body)}, expected bytes")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Damaged(f"certificate {shown(seq)}: its body is no JSON") from error
    if not isinstance(found, dict):
        raise Damaged(f"certificate {shown(seq)}: its body is no JSON object")
    return found


def certificate_name(row: AnyRow) -> str:
    """By its number, and its id where it has one."""
    identity = row.id
    known = isinstance(identity, str) and identity.isascii() and identity.isprintable()
    return f"certificate {shown(row.seq)}" + (f" (id {identity[:60]})" if known else "")


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _read_any_text(connection: Connection) -> None:
    """SQLite keeps bytes as text that are none."""
    driver = connection.connection.dbapi_connection
    if connection.dialect.name == "sqlite" and driver is not None:
        driver.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
