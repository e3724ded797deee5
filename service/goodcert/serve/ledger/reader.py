"""Queries of the ledger: one certificate by its id, a page of them, the answer stored for an idempotency key."""

from typing import NamedTuple

from sqlalchemy import Engine, select

from goodcert.serve.ledger.damage import Damaged, body_of, raw
from goodcert.serve.ledger.filter import Filter
from goodcert.serve.ledger.tables import answers, certificates, checkpoints
from goodcert.serve.ledger.writer import KEPT, now_text
from goodcert.serve.proof.idempotency import Name, Stored


class Page(NamedTuple):
    """Bodies, newest first; following: `before` of the next page, None at the end."""

    bodies: list[bytes]
    following: int | None


class Reader:
    """Reads in transactions of its own. Thread-safe. All methods raise SQLAlchemyError, and Damaged for a row that
    is not as it was written."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def certificate(self, identity: str) -> bytes | None:
        """The bytes of the certificate with this id."""
        c = certificates.c
        with self._engine.begin() as connection:
            row = connection.execute(select(raw(c.seq), raw(c.body)).where(c.id == identity)).first()
        return None if row is None else _body(*row)

    def page(self, wanted: Filter) -> Page:
        """The newest certificates that fit."""
        c = certificates.c
        query = select(raw(c.seq), raw(c.body)).order_by(c.seq.desc()).limit(wanted.limit + 1)
        exact = {"model": wanted.model, "verdict": wanted.verdict}
        query = query.where(*(c[name] == value for name, value in exact.items() if value))
        if wanted.since:
            query = query.where(c.issued_at >= wanted.since)
        if wanted.before is not None:
            query = query.where(c.seq < wanted.before)
        with self._engine.begin() as connection:
            rows = connection.execute(query).all()
        kept = rows[: wanted.limit]
        return Page([_body(*row) for row in kept], kept[-1].seq if len(rows) > wanted.limit else None)

    def checkpoint(self) -> str | None:
        """The newest signed checkpoint."""
        c = checkpoints.c
        query = select(raw(c.seq), raw(c.jws)).where(c.jws.is_not(None)).order_by(c.seq.desc()).limit(1)
        with self._engine.begin() as connection:
            row = connection.execute(query).first()
        if row is not None and not isinstance(row.jws, str):
            raise Damaged(f"checkpoint {row.seq} is not what was recorded: its jws is no text")
        return None if row is None else row.jws

    def answer(self, name: Name) -> Stored | None:
        """What was answered to this idempotency key, unless that is too long ago."""
        columns = answers.c.fingerprint, answers.c.media_type, answers.c.content
        query = select(*columns).filter_by(**name._asdict()).where(answers.c.made_at >= now_text(-KEPT))
        with self._engine.begin() as connection:
            row = connection.execute(query).first()
        return None if row is None else Stored(*row)

    def close(self) -> None:
        self._engine.dispose()


def _body(seq: object, body: object) -> bytes:
    """The bytes of a certificate, which are JSON. Raises Damaged."""
    body_of(seq, body)
    return bytes(body) if isinstance(body, bytes) else b""
