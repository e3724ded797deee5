"""Appends to the ledger with group commit: what waits during one transaction shares the next. Has its own thread.

The transaction locks the head of the chain first, so several services on one database write one chain.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, insert, select, tuple_

from goodcert.serve.batching.deadlines import DeadlineTimer
from goodcert.serve.core import timestamps
from goodcert.serve.core.errors import LedgerUnavailable
from goodcert.serve.core.event import Event
from goodcert.serve.ledger.chain import Checkpoint, Link, sign_checkpoint
from goodcert.serve.ledger.database import in_place, migrate, responds
from goodcert.serve.ledger.outbox import put
from goodcert.serve.ledger.rows import append, lock
from goodcert.serve.ledger.tables import answers, checkpoints
from goodcert.serve.proof.idempotency import Name, Stored
from goodcert.serve.proof.signing import Signer

log = logging.getLogger("goodcert.serve")

CHECKPOINT_ROWS = 1000
CHECKPOINT_SECONDS = 60
KEPT = timedelta(hours=24)
"""How long an answer is kept for its idempotency key."""

_MOST = 1024
"""The most requests whose certificates share a transaction."""

ASKED_AFTER_SECONDS = 1.0
"""A connection that was not used for so long may be to something that is no longer there."""


OnCommit = Callable[[int, float], object]
"""Is told of a transaction: how many certificates it recorded, and the seconds it took."""

OnRaised = Callable[[Sequence[Event]], object]
"""Is told of what triggers raised, once it is recorded."""


@dataclass(eq=False, slots=True)
class _Entry:
    """What one request leaves behind, with the future of its caller."""

    bodies: Sequence[Mapping[str, Any]]
    name: Name | None
    answer: Stored | None
    events: Sequence[Event]
    deadline: float
    future: asyncio.Future[Stored | None]

    def settle(self, result: Stored | LedgerUnavailable | None) -> None:
        if self.future.done():
            return
        if isinstance(result, LedgerUnavailable):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)

    def expire(self) -> None:
        self.settle(LedgerUnavailable("not within the time of the request"))


class _Done(NamedTuple):
    """A transaction that succeeded."""

    certificates: int
    seconds: float
    events: Sequence[Event]


class Writer:
    """Appends certificates to the ledger. on_commit: is told of every transaction, on the event loop; so is
    `on_raised`, if triggers raised something.

    Everything but `_commit` happens on the event loop, so nothing needs a lock.
    """

    def __init__(
        self, engine: Engine, signer: Signer | None = None, on_commit: OnCommit = lambda _, __: None
    ) -> None:
        self._engine, self._signer, self._on_commit = engine, signer, on_commit
        self.on_raised: OnRaised = lambda _: None
        self._waiting: list[_Entry] = []
        self._deadlines: DeadlineTimer[_Entry] = DeadlineTimer()
        self._connection: Connection | None = None
        self._used = 0.0
        self._running = False
        self._migrated = False
        self._fault = ""
        self._checkpoint: tuple[int, float] | None = None
        self._idle = asyncio.Event()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def open(self) -> None:
        """Make the tables. Raises LedgerUnavailable; every append tries again."""
        await asyncio.get_running_loop().run_in_executor(self.thread, self._attempt, [])

    async def append(
        self,
        bodies: Sequence[Mapping[str, Any]],
        name: Name | None = None,
        answer: Stored | None = None,
        events: Sequence[Event] = (),
        deadline: float = math.inf,
    ) -> Stored | None:
        """Record certificates, as `schemas.CertificateBody` has them, and what triggers raised for them; returns
        when they are on the disk.

        With `name` and `answer` the answer is kept for its idempotency key, unless another was first: then that
        one is returned, and nothing recorded. Raises LedgerUnavailable, also at `deadline`, by the clock of the
        event loop: they may be recorded nevertheless.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(bodies, name, answer, events, deadline, loop.create_future())
        self._waiting.append(entry)
        self._deadlines.add(entry, loop)
        if not self._running:
            # As soon as the loop has run what is ready now: answers of one batch then share a transaction.
            self._running = True
            loop.call_soon(self._start)
        try:
            return await entry.future
        finally:
            self._deadlines.forget(entry)

    async def close(self) -> None:
        """Finish what waits, leave a checkpoint, stop the thread."""
        while self._running:
            self._idle.clear()
            await self._idle.wait()
        self._deadlines.stop()
        await asyncio.get_running_loop().run_in_executor(self.thread, self._close)
        self.thread.shutdown()

    def _start(self) -> None:
        entries, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
        if entries:
            self.thread.submit(self._run, entries, asyncio.get_running_loop())
        else:
            self._running = False
            self._idle.set()

    def _finish(
        self,
        entries: list[_Entry],
        results: Sequence[Stored | LedgerUnavailable | None],
        done: _Done | None,
    ) -> None:
        for entry, result in zip(entries, results, strict=True):
            entry.settle(result)
        if done is not None:
            self._on_commit(done.certificates, done.seconds)
            if done.events:
                self.on_raised(done.events)
        self._start()

    # --- in the thread ---

    def _run(self, entries: list[_Entry], loop: asyncio.AbstractEventLoop) -> None:
        started = perf_counter()
        try:
            results: Sequence[Stored | LedgerUnavailable | None] = self._attempt(entries)
            fresh = _fresh(entries, results)
            events = [event for entry in fresh for event in entry.events]
            done: _Done | None = _Done(sum(len(e.bodies) for e in fresh), perf_counter() - started, events)
        except LedgerUnavailable as error:
            results, done = [_again(error) for _ in entries], None
        loop.call_soon_threadsafe(self._finish, entries, results, done)

    def _attempt(self, entries: list[_Entry]) -> list[Stored | None]:
        """Commit. Raises LedgerUnavailable, whatever goes wrong: it must reach the callers."""
        try:
            if not self._migrated:
                migrate(self._engine)
                self._migrated = True
            results = self._commit(entries) if entries else []
        except Exception as error:
            self._say(error)
            self._disconnect()
            raise LedgerUnavailable(type(error).__name__) from error
        self._say(None)
        return results

    def _say(self, error: Exception | None) -> None:
        """Once for each kind of failure, not for each transaction; drivers' texts name hosts and users."""
        fault = "" if error is None else type(error).__name__
        if fault and fault != self._fault:
            log.error("the ledger cannot be written: %s", fault)
        elif self._fault and not fault:
            log.info("the ledger is written again")
        self._fault = fault

    def _commit(self, entries: list[_Entry]) -> list[Stored | None]:
        connection = self._connected()
        with connection.begin():
            link = lock(connection)
            results = _claim(connection, entries)
            fresh = _fresh(entries, results)
            link = append(connection, link, [body for entry in fresh for body in entry.bodies])
            put(connection, [event for entry in fresh for event in entry.events])
            self._mark(connection, link)
        if not in_place(connection):
            raise OSError("the file of the ledger was moved or deleted")
        return results

    def _connected(self) -> Connection:
        """One connection stays open: to take it from a pool each time costs as much as a dozen certificates."""
        now = perf_counter()
        if self._connection and now - self._used > ASKED_AFTER_SECONDS and not responds(self._connection):
            self._disconnect()
        self._used = now
        self._connection = self._connection or self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        with suppress(Exception):  # it may be to something that is no longer there
            if connection is not None:
                connection.close()
        self._engine.dispose()

    def _mark(self, connection: Connection, link: Link, *, due: bool = False) -> None:
        """A signed checkpoint, now and then."""
        if self._signer is None:
            return
        now = perf_counter()
        seq, then = self._checkpoint or (link.seq, now)
        self._checkpoint = (seq, then)
        if due or link.seq - seq >= CHECKPOINT_ROWS or (now - then >= CHECKPOINT_SECONDS and link.seq > seq):
            write_checkpoint(connection, link, self._signer)
            self._checkpoint = (link.seq, now)

    def _close(self) -> None:
        try:
            if self._migrated and self._signer is not None:
                connection = self._connected()
                with connection.begin():
                    self._mark(connection, lock(connection), due=True)
        except Exception as error:  # noqa: BLE001  SQLAlchemy's, or the driver's own
            log.error("the ledger got no last checkpoint: %s", type(error).__name__)
        self._disconnect()


def write_checkpoint(connection: Connection, link: Link, signer: Signer) -> None:
    """Keep `link`, the head under its lock; once is enough, and before the first certificate there is none."""
    if link.seq and not connection.execute(select(checkpoints.c.seq).filter_by(seq=link.seq)).first():
        _keep(connection, link, signer, base=False)


def write_base(connection: Connection, link: Link, signer: Signer | None) -> None:
    """Keep `link` as the place where the chain begins from now on."""
    connection.execute(delete(checkpoints).where(checkpoints.c.seq == link.seq))
    _keep(connection, link, signer, base=True)


def _keep(connection: Connection, link: Link, signer: Signer | None, *, base: bool) -> None:
    made_at = now_text()
    jws = sign_checkpoint(Checkpoint(link, base), made_at, signer) if signer else None
    row = {"seq": link.seq, "digest": link.digest, "made_at": made_at, "base": base, "jws": jws}
    connection.execute(insert(checkpoints), [row])


def _fresh(entries: Sequence[_Entry], results: Sequence[object]) -> list[_Entry]:
    """Those that were not answered before."""
    return [entry for entry, found in zip(entries, results, strict=True) if found is None]


def _claim(connection: Connection, entries: Sequence[_Entry]) -> list[Stored | None]:
    """Keep the answers of keys that are new; for the others, what was answered before, None for the rest."""
    first = {entry.name: entry for entry in reversed(entries) if entry.name and entry.answer}
    if not first:
        return [None] * len(entries)
    connection.execute(delete(answers).where(answers.c.made_at < now_text(-KEPT)))
    known = _known(connection, list(first))
    fresh = {name: entry.answer for name, entry in first.items() if name not in known and entry.answer}
    _keep_answers(connection, fresh)
    kept = known | fresh

    def before(entry: _Entry) -> Stored | None:
        is_new = entry.name is None or (entry.name in fresh and entry is first[entry.name])
        return None if is_new or entry.name is None else kept[entry.name]

    return [before(entry) for entry in entries]


def _keep_answers(connection: Connection, fresh: Mapping[Name, Stored]) -> None:
    made_at = now_text()
    rows = [{**name._asdict(), **answer._asdict(), "made_at": made_at} for name, answer in fresh.items()]
    if rows:
        connection.execute(insert(answers), rows)


def _known(connection: Connection, names: list[Name]) -> dict[Name, Stored]:
    columns = answers.c.caller, answers.c.key, answers.c.fingerprint, answers.c.media_type, answers.c.content
    found = connection.execute(select(*columns).where(tuple_(answers.c.caller, answers.c.key).in_(names)))
    return {Name(caller, key): Stored(*rest) for caller, key, *rest in found}


def now_text(shift: timedelta = timedelta()) -> str:
    """The time, in the form of `issued_at`."""
    return timestamps.text_of(datetime.now(UTC) + shift)


def _again(cause: LedgerUnavailable) -> LedgerUnavailable:
    """An error of its own for each caller."""
    error = LedgerUnavailable(*cause.args)
    error.__cause__ = cause.__cause__
    return error
