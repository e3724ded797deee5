"""Many callers, one engine: the next batch is whatever queued while the engine ran.

Knows nothing of images. Everything but `work` happens on the event loop, so nothing needs a lock:
`submit` queues, `_start` hands a batch to the one engine thread, `_finish` comes back with its results.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Generic, TypeVar

from goodcert.serve.errors import DeadlineExceeded, EngineFailed, QueueFull, ShuttingDown

log = logging.getLogger("goodcert.serve")

T = TypeVar("T")
R = TypeVar("R")

# What a caller wants to find again in the run that its item was part of; its trace, where there is one.
note: ContextVar[object] = ContextVar("note", default=None)

# Weight of the newest batch in the moving average of seconds per item.
_NEWEST = 0.2
_LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True)
class Limits:
    """What may be waiting and what may run at once; `wait_seconds` is how long an idle engine waits for
    company."""

    max_batch: int = 64
    max_items: int = 1024
    max_bytes: int = 256 * 2**20
    wait_seconds: float = 0


@dataclass(frozen=True)
class Run:
    """One finished run of the engine: how many items, how long each had waited, how long it took, and what the
    caller of each had noted."""

    size: int
    waited_seconds: tuple[float, ...]
    engine_seconds: float
    notes: tuple[object, ...] = ()


@dataclass(eq=False)
class _Entry(Generic[T, R]):
    """One waiting item with the future of its own caller."""

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


class Batcher(Generic[T, R]):
    """Gathers items into batches for `work`, which runs in a thread of its own, one batch at a time.

    work: takes a list of items, returns as many results in order; an exception in the place of a result
    goes to that item's caller alone. on_run: is told of every run, on the event loop.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Sequence[R | Exception]],
        limits: Limits,
        on_run: Callable[[Run], object] = lambda _: None,
    ) -> None:
        self._work = work
        self._limits = limits
        self._on_run = on_run
        self._queue: dict[_Entry[T, R], None] = {}  # ordered, and any entry leaves in constant time
        self._bytes = 0
        self._seconds_per_item = 0.0
        self._running = False
        self._closing = False
        self._scheduled: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    def __len__(self) -> int:
        """How many items are waiting."""
        return len(self._queue)

    def oldest_seconds(self) -> float:
        """How long the item at the head of the queue has waited; 0 when nothing waits."""
        oldest = next(iter(self._queue), None)
        return 0.0 if oldest is None else perf_counter() - oldest.queued_at

    async def submit(self, item: T, *, size_bytes: int, deadline: float) -> R:
        """The result for `item`; `deadline` is a time of the event loop's clock.

        Raises QueueFull, ShuttingDown, DeadlineExceeded, EngineFailed, or what `work` put in its place.
        """
        self._admit(size_bytes)
        loop = asyncio.get_running_loop()
        entry = _Entry[T, R](item, size_bytes, deadline, loop.create_future())
        alarm = loop.call_at(deadline, entry.expire)
        self._queue[entry] = None
        self._bytes += size_bytes
        self._schedule(loop)
        try:
            return await entry.future
        finally:
            alarm.cancel()
            self._forget(entry)  # a caller that was cancelled leaves the queue at once

    async def close(self) -> None:
        """Refuse new items, finish those that wait, stop the thread."""
        self._closing = True
        while self._running or self._queue:
            self._idle.clear()
            self._start()
            if self._running:
                await self._idle.wait()
        self._thread.shutdown()

    def _admit(self, size_bytes: int) -> None:
        if self._closing:
            raise ShuttingDown
        # An item larger than the whole limit still gets its turn when nothing else waits.
        heavy = self._queue and self._bytes + size_bytes > self._limits.max_bytes
        if heavy or len(self._queue) >= self._limits.max_items:
            raise QueueFull(self._retry_after_seconds())

    def _retry_after_seconds(self) -> int:
        """When the items that wait now should be done, at the rate seen of late."""
        drained = len(self._queue) * self._seconds_per_item
        return min(max(math.ceil(drained), 1), _LONGEST_RETRY_SECONDS)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start as soon as the loop has run what is ready now: images of one form then share a batch."""
        if self._running:
            return
        if len(self._queue) >= self._limits.max_batch or not self._limits.wait_seconds:
            self._unschedule()
            self._scheduled = loop.call_soon(self._start)
        elif self._scheduled is None:
            self._scheduled = loop.call_later(self._limits.wait_seconds, self._start)

    def _unschedule(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _start(self) -> None:
        self._unschedule()
        if self._running:
            return
        batch = self._take()
        if batch:
            self._running = True
            self._thread.submit(self._run, batch, asyncio.get_running_loop())

    def _take(self) -> list[_Entry[T, R]]:
        """The oldest items whose callers still wait, at most `max_batch`; those of the others are dropped."""
        now = asyncio.get_running_loop().time()
        batch: list[_Entry[T, R]] = []
        while self._queue and len(batch) < self._limits.max_batch:
            for entry in list(islice(self._queue, self._limits.max_batch - len(batch))):
                self._forget(entry)
                if entry.deadline <= now:
                    entry.expire()
                if not entry.future.done():
                    batch.append(entry)
        return batch

    def _forget(self, entry: _Entry[T, R]) -> None:
        if entry in self._queue:
            del self._queue[entry]
            self._bytes -= entry.size_bytes

    def _run(self, batch: list[_Entry[T, R]], loop: asyncio.AbstractEventLoop) -> None:
        """In the engine thread: one hop here, one callback back, however many items."""
        started = perf_counter()
        results = self._attempt([entry.item for entry in batch])
        waited = tuple(started - entry.queued_at for entry in batch)
        notes = tuple(entry.note for entry in batch)
        run = Run(len(batch), waited, perf_counter() - started, notes)
        loop.call_soon_threadsafe(self._finish, batch, results, run)

    def _attempt(self, items: list[T]) -> Sequence[R | Exception]:
        try:
            results = self._work(items)
            if len(results) != len(items):
                raise ValueError(f"the engine gave {len(results)} results, expected {len(items)}")
        except Exception as error:  # whatever it is, it must reach the callers and not end the thread
            log.exception("the engine failed on a batch of %d", len(items))
            return [_failed(error) for _ in items]
        return results

    def _finish(self, batch: list[_Entry[T, R]], results: Sequence[R | Exception], run: Run) -> None:
        for entry, result in zip(batch, results, strict=True):
            entry.settle(result)
        self._learn(run.engine_seconds / run.size)
        self._running = False
        self._on_run(run)
        self._start()
        if not self._running:
            self._idle.set()

    def _learn(self, seconds_per_item: float) -> None:
        old = self._seconds_per_item or seconds_per_item
        self._seconds_per_item = old + _NEWEST * (seconds_per_item - old)


def _failed(cause: Exception) -> EngineFailed:
    """An error of its own for each caller, all with the same cause."""
    failed = EngineFailed(repr(cause))
    failed.__cause__ = cause
    return failed
