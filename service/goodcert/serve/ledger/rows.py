"""The rows of certificates, and the head of their chain: what every transaction reads and writes."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, Dialect, bindparam, insert, select, update

from goodcert.serve.ledger.chain import Link
from goodcert.serve.ledger.tables import certificates, head

_AT_ONCE = 64
"""The most rows of one statement."""

# Made once: putting a statement together costs more than running it.
_HEAD = select(head.c.seq, head.c.digest).with_for_update()
_MOVE = update(head).values(seq=bindparam("seq"), digest=bindparam("digest"))


def lock(connection: Connection) -> Link:
    """The last link, held until the transaction ends: by its row in PostgreSQL, by BEGIN IMMEDIATE in SQLite."""
    return Link(*connection.execute(_HEAD).one())


def append(connection: Connection, link: Link, bodies: Sequence[Mapping[str, Any]]) -> Link:
    """The link of the last of `bodies`, written behind `link`, the head under its lock."""
    for start in range(0, len(bodies), _AT_ONCE):
        some = bodies[start : start + _AT_ONCE]
        values: list[object] = []
        for body in some:
            text = orjson.dumps(body)
            link = link.then(text)
            values += row_of(link, body, text)
        connection.exec_driver_sql(_insert(len(some), connection.dialect), tuple(values))
    if bodies:
        connection.execute(_MOVE, link._asdict())
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
    start, values, row = str(insert(certificates).compile(dialect=dialect)).partition(" VALUES ")
    return start + values + ", ".join([row] * rows)
