"""Reading and inserting rows of certificates and the head of their chain: the statements of every transaction.

SQLAlchemy compiles the statements, once, and the driver executes them: through SQLAlchemy each time they would
cost more processor time than the database itself. Errors are those of the driver.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import ClauseElement, Connection, Dialect, bindparam, insert, select, update

from goodcert.serve.ledger.chain import Link
from goodcert.serve.ledger.tables import certificates, head

_AT_ONCE = 64
"""The most rows of one statement."""

_HEAD = select(head.c.seq, head.c.digest).with_for_update()
_MOVE = update(head).values(seq=bindparam("seq"), digest=bindparam("digest"))
_INSERT = insert(certificates)


def lock(connection: Connection) -> Link:
    """The last link, held until the transaction ends: by its row in PostgreSQL, by BEGIN IMMEDIATE in SQLite."""
    cursor = connection.connection.cursor()
    cursor.execute(_text(_HEAD, connection.dialect))
    ((seq, digest),) = cursor.fetchall()
    return Link(seq, digest)


def append(connection: Connection, link: Link, bodies: Sequence[Mapping[str, Any]]) -> Link:
    """The link of the last of `bodies`, written behind `link`, the head under its lock."""
    cursor = connection.connection.cursor()
    for start in range(0, len(bodies), _AT_ONCE):
        some = bodies[start : start + _AT_ONCE]
        values: list[object] = []
        for body in some:
            text = orjson.dumps(body)
            link = link.then(text)
            values += row_of(link, body, text)
        cursor.execute(_insert(len(some), connection.dialect), values)
    if bodies:
        cursor.execute(_text(_MOVE, connection.dialect), link)
    return link


def row_of(link: Link, body: Mapping[str, Any], text: bytes) -> tuple[object, ...]:
    """The values of a row, in the order of its columns; `text` is `body` in JSON."""
    model = body["model"]
    names = model["name"], model["version"], body["verdict"]
    return link.seq, body["id"], *names, body["issued_at"], link.digest, text


@lru_cache
def _insert(rows: int, dialect: Dialect) -> str:
    """One statement for so many rows, whose values follow each other.

    A driver lets other threads run at every statement, and has to wait for them: one for each row would cost
    them, and it, more than the database takes.
    """
    start, values, row = _text(_INSERT, dialect).partition(" VALUES ")
    return start + values + ", ".join([row] * rows)


@lru_cache
def _text(statement: ClauseElement, dialect: Dialect) -> str:
    """Its parameters are positions, in the order of the columns."""
    return str(statement.compile(dialect=dialect))
