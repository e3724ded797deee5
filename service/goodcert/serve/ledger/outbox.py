"""The transactional outbox: events of triggers that nobody has received yet, in the database of the ledger.

A letter has the time at which it is due. Taking it moves that time beyond the longest attempt (a lease) and counts
the attempt: nobody else takes it meanwhile, and if the taker dies it is due again. A letter with a reason is a
dead letter, and waits for a person.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Engine,
    Update,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from goodcert.serve.core.event import Event
from goodcert.serve.core.timestamps import text_of
from goodcert.serve.ledger.tables import disabled, outbox

_INSERT = insert(outbox)
_c = outbox.c


class Letter(NamedTuple):
    """An event that this process has taken, with the number of its attempt, from 1."""

    id: str
    payload: bytes
    traceparent: str | None
    attempt: int


class End(NamedTuple):
    """How an attempt ended: received, or due again, or dead for a reason."""

    letter: Letter
    due: datetime | None = None
    reason: str | None = None


class Waiting(NamedTuple):
    """What is not delivered. oldest: when it was raised. next_due: when one may be taken, in or out of hand."""

    letters: int
    oldest: str | None
    next_due: str | None


class Dead(NamedTuple):
    """A letter whose attempts are over. reason: what the last one ended with."""

    id: str
    trigger: str
    raised_at: str
    reason: str
    payload: bytes


def put(connection: Connection, events: Iterable[Event]) -> None:
    """In the transaction of their certificates; due at once."""
    rows = [{**event._asdict(), "due_at": event.raised_at, "attempts": 0} for event in events]
    if rows:
        connection.execute(_INSERT, rows)


class Outbox:
    """writes, reads: engines for the two kinds of transactions. Thread-safe; everything raises SQLAlchemyError."""

    def __init__(self, writes: Engine, reads: Engine) -> None:
        self._writes, self._reads = writes, reads

    def take(self, trigger: str, now: datetime, lease: timedelta, most: int) -> list[Letter]:
        """Letters of a trigger that are due, the longest first; they are due again after `lease`."""
        wanted = select(_c.id, _c.payload, _c.traceparent, _c.attempts)
        due = wanted.where(_open(trigger), _c.due_at <= text_of(now))
        with self._writes.begin() as connection:
            rows = connection.execute(due.order_by(_c.due_at).limit(most).with_for_update(skip_locked=True)).all()
            if rows:
                taken = update(outbox).where(_c.id.in_([row.id for row in rows]))
                connection.execute(taken.values(due_at=text_of(now + lease), attempts=_c.attempts + 1))
        return [Letter(row.id, row.payload, row.traceparent, row.attempts + 1) for row in rows]

    def settle(self, ends: Iterable[End]) -> None:
        """What was received is forgotten, whoever holds it by now; what somebody else took meanwhile is theirs."""
        with self._writes.begin() as connection:
            for letter, due, reason in ends:
                if due is None and reason is None:
                    connection.execute(delete(outbox).where(_c.id == letter.id))
                elif due is None:
                    connection.execute(_held(letter).values(reason=reason))
                else:
                    connection.execute(_held(letter).values(due_at=text_of(due)))

    def bury_due(self, trigger: str, now: datetime, reason: str) -> int:
        """All that is due and in nobody's hand; how many."""
        due = update(outbox).where(_open(trigger), _c.due_at <= text_of(now))
        return self._change(due.values(reason=reason))

    def waiting(self, trigger: str) -> Waiting:
        query = select(func.count(), func.min(_c.raised_at), func.min(_c.due_at)).where(_open(trigger))
        with self._reads.begin() as connection:
            return Waiting(*connection.execute(query).one())

    def triggers(self) -> list[str]:
        """The names of all that have letters here, dead ones included, or are disabled."""
        with self._reads.begin() as connection:
            names = connection.execute(select(_c.trigger).union(select(disabled.c.trigger))).scalars()
            return sorted(names)

    def dead(self, trigger: str | None = None) -> Iterator[Dead]:
        """The dead letters, of one trigger or of all, oldest first and read as they are asked for."""
        query = select(_c.id, _c.trigger, _c.raised_at, _c.reason, _c.payload).where(_dead(trigger))
        with self._reads.begin() as connection:
            for row in connection.execution_options(yield_per=16).execute(query.order_by(_c.raised_at)):
                yield Dead(*row)

    def count_dead(self, trigger: str) -> int:
        with self._reads.begin() as connection:
            return connection.execute(select(func.count()).select_from(outbox).where(_dead(trigger))).scalar_one()

    def resend(self, trigger: str | None, ids: Sequence[str], now: datetime) -> int:
        """Dead letters are due again, and as new, and their triggers enabled; how many. Without ids all."""
        names = select(_c.trigger).where(_dead(trigger, ids))
        again = update(outbox).where(_dead(trigger, ids))
        with self._writes.begin() as connection:
            connection.execute(
                delete(disabled).where(disabled.c.trigger.in_(names) | (disabled.c.trigger == trigger))
            )
            return connection.execute(again.values(reason=None, attempts=0, due_at=text_of(now))).rowcount

    def drop(self, trigger: str | None, ids: Sequence[str]) -> int:
        """Forget dead letters; how many. Without ids all."""
        with self._writes.begin() as connection:
            return connection.execute(delete(outbox).where(_dead(trigger, ids))).rowcount

    def disable(self, trigger: str, now: datetime) -> None:
        with self._writes.begin() as connection:
            connection.execute(delete(disabled).where(disabled.c.trigger == trigger))
            connection.execute(insert(disabled).values(trigger=trigger, since=text_of(now)))

    def enable(self, trigger: str) -> None:
        with self._writes.begin() as connection:
            connection.execute(delete(disabled).where(disabled.c.trigger == trigger))

    def is_disabled(self, trigger: str) -> bool:
        with self._reads.begin() as connection:
            return connection.execute(select(disabled).filter_by(trigger=trigger)).first() is not None

    def close(self) -> None:
        self._writes.dispose()
        self._reads.dispose()

    def _change(self, change: Update) -> int:
        with self._writes.begin() as connection:
            result: CursorResult[tuple[()]] = connection.execute(change)
            return result.rowcount


def _open(trigger: str) -> ColumnElement[bool]:
    return (_c.trigger == trigger) & _c.reason.is_(None)


def _dead(trigger: str | None, ids: Sequence[str] = ()) -> ColumnElement[bool]:
    """trigger: None for all; so are no ids."""
    wanted = [_c.trigger == trigger] * (trigger is not None) + [_c.id.in_(ids)] * bool(ids)
    return and_(_c.reason.is_not(None), *wanted)


def _held(letter: Letter) -> Update:
    return update(outbox).where(_c.id == letter.id, _c.attempts == letter.attempt)
