"""The ledger of a running service: a writer and a reader on one database."""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from goodcert.serve.core.errors import LedgerUnavailable
from goodcert.serve.core.event import Event
from goodcert.serve.ledger.damage import Damaged
from goodcert.serve.ledger.database import connect
from goodcert.serve.ledger.outbox import Outbox
from goodcert.serve.ledger.reader import Reader
from goodcert.serve.ledger.writer import OnCommit, OnRaised, Writer
from goodcert.serve.proof.idempotency import Name, Stored
from goodcert.serve.proof.signing import Signer

log = logging.getLogger("goodcert.serve")

T = TypeVar("T")


class Ledger:
    """url: of the database. signer: for checkpoints. on_commit: as `Writer` has it. Raises SettingsError."""

    def __init__(self, url: str, signer: Signer | None, on_commit: OnCommit) -> None:
        self._url = url
        self._writer = Writer(connect(url, writes=True), signer, on_commit)
        self._reader = Reader(connect(url))

    async def open(self) -> None:
        """Make the tables. Raises LedgerUnavailable."""
        await self._writer.open()

    async def append(
        self,
        bodies: Sequence[Mapping[str, Any]],
        name: Name | None = None,
        answer: Stored | None = None,
        events: Sequence[Event] = (),
        deadline: float = math.inf,
    ) -> Stored | None:
        """Record certificates and what belongs to them in one transaction, as `Writer.append` does."""
        return await self._writer.append(bodies, name, answer, events, deadline)

    @property
    def thread(self) -> Executor:
        """In which everything is written."""
        return self._writer.thread

    def outbox(self, on_raised: OnRaised) -> Outbox:
        """For whoever delivers what triggers raise, and closes it; `on_raised` is told of what comes into it."""
        self._writer.on_raised = on_raised
        return Outbox(connect(self._url, writes=True), connect(self._url))

    async def look(self, question: Callable[[Reader], T]) -> T:
        """The answer of the reader, asked in a thread. Raises LedgerUnavailable."""
        try:
            return await asyncio.to_thread(question, self._reader)
        except (SQLAlchemyError, OSError, Damaged) as error:
            fault = str(error) if isinstance(error, Damaged) else type(error).__name__
            log.error("the ledger cannot be read: %s", fault)
            raise LedgerUnavailable(type(error).__name__) from error

    async def close(self) -> None:
        await self._writer.close()
        self._reader.close()
