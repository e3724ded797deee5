"""Two lanes, each bounded for itself, and the places that each has in a batch: monitors first, and bulk its share.

Of the places of a batch, one in `BULK_SHARE` is for bulk where bulk waits: never fewer, so that monitors do not
starve it, and never more, so that a monitor that comes while bulk runs waits for a short batch. Where a batch has
fewer places than that, bulk has one in every so many batches; and where several batches are under way, one of them
is without bulk, so that a monitor that comes while bulk runs need not wait for it at all.
"""

import asyncio
import math
from collections.abc import Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Generic, Literal, TypeVar

from goodcert.serve.core.errors import DeadlineExceeded

T = TypeVar("T")
R = TypeVar("R")

Priority = Literal["monitor", "bulk"]

BULK_SHARE = 4

# What a caller wants to find again in the run that its item was part of; its trace, where there is one.
note: ContextVar[object] = ContextVar("note", default=None)


@dataclass(frozen=True)
class QueueLimits:
    """What may be waiting, in each lane, and what may run; `wait_seconds` is how long an idle engine waits for
    company, `at_once` how many batches may be under way."""

    max_batch: int = 64
    max_items: int = 1024
    max_bytes: int = 256 * 2**20
    wait_seconds: float = 0
    at_once: int = 1

    @property
    def bulk_batch(self) -> int:
        """The most bulk items in a batch."""
        return max(1, self.max_batch // BULK_SHARE)

    @property
    def bulk_share(self) -> float:
        """The same while monitors wait, too; a fraction is one in every so many batches."""
        return self.max_batch / BULK_SHARE

    @property
    def bulk_at_once(self) -> int:
        """The most batches under way that have bulk: even of two threads bulk alone leaves one idle, or a monitor
        could wait for as long as the longest item takes."""
        return max(1, self.at_once - 1)


@dataclass(eq=False, slots=True)
class QueuedItem(Generic[T, R]):
    """One waiting item with the future of its own caller. deadline: by the clock of the event loop."""

    item: T
    size_bytes: int
    deadline: float
    future: asyncio.Future[R]
    queued_at: float = field(default_factory=perf_counter)
    note: object = field(default_factory=note.get)

    def settle(self, result: R | Exception) -> None:
        """Answer the caller, unless gone already."""
        if self.future.done():
            return
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)

    def expire(self) -> None:
        self.settle(DeadlineExceeded())


@dataclass(eq=False, frozen=True, slots=True)
class QueuedBatch(Generic[T, R]):
    """What is under way together, since `began` by `perf_counter`."""

    entries: list[QueuedItem[T, R]]
    has_bulk: bool
    began: float


class Lane(Generic[T, R]):
    """The waiting items of one priority, oldest first; any of them leaves in constant time."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._entries: dict[QueuedItem[T, R], None] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def since(self) -> float:
        """When the oldest was queued, by `perf_counter`; infinite where nothing waits."""
        oldest = next(iter(self._entries), None)
        return math.inf if oldest is None else oldest.queued_at

    def has_room(self, size_bytes: int, count: int) -> bool:
        """For so many items, which have so many bytes together."""
        # An item larger than the whole limit still gets its turn when nothing else waits.
        heavy = self._entries and self._bytes + size_bytes > self._limits.max_bytes
        return not heavy and len(self._entries) + count <= self._limits.max_items

    def add(self, entry: QueuedItem[T, R]) -> None:
        self._entries[entry] = None
        self._bytes += entry.size_bytes

    def forget(self, entry: QueuedItem[T, R]) -> None:
        if entry in self._entries:
            del self._entries[entry]
            self._bytes -= entry.size_bytes

    def take(self, most: int, now: float) -> list[QueuedItem[T, R]]:
        """The oldest items whose callers still wait, at most so many; those of the others are dropped."""
        taken: list[QueuedItem[T, R]] = []
        while self._entries and len(taken) < most:
            for entry in list(islice(self._entries, most - len(taken))):
                self.forget(entry)
                if entry.deadline <= now:
                    entry.expire()
                if not entry.future.done():
                    taken.append(entry)
        return taken


class Lanes(Generic[T, R]):
    """Both lanes, and whose turn it is."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._monitor: Lane[T, R] = Lane(limits)
        self._bulk: Lane[T, R] = Lane(limits)
        self._bulk_places = 0.0

    def __len__(self) -> int:
        return len(self._monitor) + len(self._bulk)

    def __getitem__(self, priority: Priority) -> Lane[T, R]:
        return self._bulk if priority == "bulk" else self._monitor

    @property
    def since(self) -> float:
        """When the oldest item of both was queued, as `Lane.since`."""
        return min(self._monitor.since, self._bulk.since)

    def fill_a_batch(self) -> bool:
        """Whether one lane alone fills what it may have of a batch."""
        return len(self._monitor) >= self._limits.max_batch or len(self._bulk) >= self._limits.bulk_batch

    def take(self, now: float, running: Collection[QueuedBatch[T, R]]) -> QueuedBatch[T, R] | None:
        """The next batch beside those that run; None where nobody waits for one."""
        for _ in range(2):  # the first time bulk may be left out for monitors whose callers turn out to be gone
            bulk = self._bulk.take(self._places_for_bulk(running), now)
            self._bulk_places -= len(bulk)
            if entries := self._monitor.take(self._limits.max_batch - len(bulk), now) + bulk:
                return QueuedBatch(entries, bool(bulk), perf_counter())
        return None

    def _places_for_bulk(self, running: Collection[QueuedBatch[T, R]]) -> int:
        """Fractions of a place add up over batches while both wait."""
        if sum(batch.has_bulk for batch in running) >= self._limits.bulk_at_once:
            return 0
        if not self._monitor:
            self._bulk_places = self._limits.bulk_batch
        else:
            self._bulk_places = self._bulk_places % 1 + self._limits.bulk_share if self._bulk else 0.0
        return int(self._bulk_places)
