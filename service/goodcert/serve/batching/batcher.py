"""Many callers, one engine: the next batch is whatever queued while the engine ran.

Knows nothing of images. Everything but `Work.run` happens on the event loop, so nothing needs a lock.

There is one engine thread, unless items take so long, and so differently long, that nobody should wait for a
neighbour: then a batch is one item, and `QueueLimits.at_once` are under way, each in a thread of its own.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from goodcert.serve.batching.deadlines import DeadlineTimer
from goodcert.serve.batching.forecast import BatchTime, at_most, seconds_until_done
from goodcert.serve.batching.lanes import Lanes, Priority, QueuedBatch, QueuedItem, QueueLimits
from goodcert.serve.batching.work import Work, attempt, results
from goodcert.serve.core.errors import QueueFull, ShuttingDown

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P")
D = TypeVar("D")

_LONGEST_RETRY_SECONDS = 60


@dataclass(frozen=True)
class BatchRun:
    """One finished run of the engine: how many items, how long each had waited, how long it took, and what the
    caller of each had noted."""

    size: int
    waited_seconds: tuple[float, ...]
    engine_seconds: float
    notes: tuple[object, ...] = ()


class Batcher(Generic[T, R]):
    """Gathers items into batches, `QueueLimits.at_once` of them at a time.

    work: what a batch goes through. on_run: is told of every run, on the event loop.
    """

    def __init__(
        self, work: Work[T, P, D, R], limits: QueueLimits, on_run: Callable[[BatchRun], object] = lambda _: None
    ) -> None:
        self._work: Work[T, Any, Any, R] = work
        self._limits = limits
        self._on_run = on_run
        self._lanes: Lanes[T, R] = Lanes(limits)
        self._deadlines: DeadlineTimer[QueuedItem[T, R]] = DeadlineTimer()
        self._batch_time = BatchTime()
        self._running: set[QueuedBatch[T, R]] = set()
        self._closing = False
        self._scheduled: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="engine")

    def __len__(self) -> int:
        """How many items are waiting."""
        return len(self._lanes)

    def oldest_seconds(self) -> float:
        """How long the item that has waited longest has waited; 0 when nothing waits."""
        return max(perf_counter() - self._lanes.since, 0.0)

    async def submit(self, item: T, *, size_bytes: int, deadline: float, priority: Priority = "monitor") -> R:
        """The result for `item`; `deadline` is a time of the event loop's clock.

        Raises QueueFull, ShuttingDown, DeadlineExceeded, EngineFailed, or what its batch put in its place.
        """
        entries = self._queue([item], size_bytes, deadline, priority)
        try:
            return await entries[0].future
        finally:
            self._forget(entries, priority)

    async def submit_all(
        self, items: Sequence[T], *, size_bytes: int, deadline: float, priority: Priority = "monitor"
    ) -> list[R]:
        """The results for all items, each of `size_bytes`, in order; raises as `submit` for the first that fails.

        They are queued together or not at all: to refuse many at once costs less than to queue some in vain.
        """
        entries = self._queue(items, size_bytes, deadline, priority)
        try:
            return await asyncio.gather(*(entry.future for entry in entries))
        finally:
            self._forget(entries, priority)

    def require_room(self, priority: Priority, deadline: float, count: int = 1, size_bytes: int = 0) -> None:
        """Whether so many items, of so many bytes together, could be queued now, and done in time: asked before
        they are made, so that refusing them costs little. Raises QueueFull or ShuttingDown."""
        if self._closing:
            raise ShuttingDown
        lane = self._lanes[priority]
        left = deadline - asyncio.get_running_loop().time()
        if self._late(priority, len(lane), count, left) or not lane.has_room(size_bytes, count):
            drained = math.ceil(self._seconds(priority, len(lane)))
            raise QueueFull(min(max(drained, 1), _LONGEST_RETRY_SECONDS))

    async def close(self) -> None:
        """Refuse new items, finish those that wait, stop the threads."""
        self._closing = True
        while self._running or len(self):
            self._idle.clear()
            self._start()
            if self._running:
                await self._idle.wait()
        self._deadlines.stop()
        self._threads.shutdown()

    def _late(self, priority: Priority, waiting: int, count: int, left: float) -> bool:
        """Whether so many more items, behind those of the priority that wait, would be done after `left` seconds.
        Where nothing waits even the shortest deadline gets its turn."""
        if not waiting or at_most(len(self._lanes) + count, self._batch_time.seconds) <= left:
            return False
        return self._seconds(priority, waiting + count) > left

    def _seconds(self, priority: Priority, count: int) -> float:
        """Until so many items of the priority should be done."""
        now, others = perf_counter(), len(self._lanes["monitor" if priority == "bulk" else "bulk"])
        running = [now - batch.began for batch in self._running]
        return seconds_until_done(self._limits, priority, count, others, running, self._batch_time.seconds)

    def _queue(
        self, items: Sequence[T], size_bytes: int, deadline: float, priority: Priority
    ) -> list[QueuedItem[T, R]]:
        """All of the items, or none. Raises as `require_room`."""
        self.require_room(priority, deadline, len(items), size_bytes * len(items))
        loop, lane = asyncio.get_running_loop(), self._lanes[priority]
        entries: list[QueuedItem[T, R]] = [
            QueuedItem(item, size_bytes, deadline, loop.create_future()) for item in items
        ]
        for entry in entries:
            lane.add(entry)
            self._deadlines.add(entry, loop)
        self._schedule(loop)
        return entries

    def _forget(self, entries: list[QueuedItem[T, R]], priority: Priority) -> None:
        """Callers that are cancelled leave the queue at once."""
        lane = self._lanes[priority]
        for entry in entries:
            self._deadlines.forget(entry)
            lane.forget(entry)
            entry.future.cancel()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start as soon as the loop has run what is ready now: images of one form then share a batch."""
        if not self._has_thread():
            return
        if not self._limits.wait_seconds or self._lanes.fill_a_batch():
            self._unschedule()
            self._scheduled = loop.call_soon(self._start)
        elif self._scheduled is None:
            self._scheduled = loop.call_later(self._limits.wait_seconds, self._start)

    def _unschedule(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _has_thread(self) -> bool:
        """Whether one more batch may be under way."""
        return len(self._running) < self._limits.at_once

    def _start(self) -> None:
        """As many batches as there are threads and items for."""
        self._unschedule()
        loop = asyncio.get_running_loop()
        while self._has_thread() and (batch := self._lanes.take(loop.time(), self._running)):
            self._running.add(batch)
            prepared = attempt(self._work.prepare, [entry.item for entry in batch.entries])
            self._threads.submit(self._run, batch, prepared, loop)

    def _run(self, batch: QueuedBatch[T, R], prepared: Any, loop: asyncio.AbstractEventLoop) -> None:
        """In an engine thread: one hop here, one callback back, however many items."""
        started = perf_counter()
        done = attempt(self._work.run, prepared)
        loop.call_soon_threadsafe(self._finish, batch, done, started, perf_counter() - started)

    def _finish(self, batch: QueuedBatch[T, R], done: Any, started: float, seconds: float) -> None:
        entries = batch.entries
        for entry, result in zip(entries, results(self._work.finish, done, len(entries)), strict=True):
            entry.settle(result)
        # From the start of a batch to that of the next: also what the loop does meanwhile.
        self._batch_time = self._batch_time.after(perf_counter() - batch.began)
        self._running.remove(batch)
        waited = tuple(started - entry.queued_at for entry in entries)
        self._on_run(BatchRun(len(entries), waited, seconds, tuple(entry.note for entry in entries)))
        self._start()
        if not self._running:
            self._idle.set()
