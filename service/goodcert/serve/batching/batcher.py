"""Many callers, one engine: the next batch is whatever queued while the engine ran.

Knows nothing of images. Everything but the middle of a batch happens on the event loop, so nothing needs a lock:
`submit` queues, `_start` begins a batch and hands it to an engine thread, `_finish` ends it.

There is one engine thread, unless items take so long, and so differently long, that nobody should wait for a
neighbour: then a batch is one item, and several are under way, each in a thread of its own (`Limits.at_once`).

A batch has three steps, as two threads that both want the interpreter take it from each other many times a
millisecond: what is short and in Python is done on the loop, before and after, and the engine's thread is left
with what runs without the interpreter.

Two lanes, each bounded for itself: monitors come first, and bulk has its share. Of the places of a batch, one in
`BULK_SHARE` is for bulk where bulk waits: never fewer, so that monitors do not starve it, and never more, so that
a monitor that comes while bulk runs waits for a short batch. Where a batch has fewer places than that, bulk has
one in every so many batches; and where several batches are under way, one of them is without bulk, so that a
monitor that comes while bulk runs need not wait for it at all.

An item that would come too late, going by how long batches took lately, is refused: to queue it would only take
from those that can be answered. Where more is asked than the engine can do, all answers would else come too late.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from time import perf_counter
from typing import Generic, Literal, NoReturn, TypeVar

from goodcert.serve.batching.deadlines import DeadlineTimer
from goodcert.serve.core.errors import DeadlineExceeded, EngineFailed, QueueFull, ShuttingDown

log = logging.getLogger("goodcert.serve")

T = TypeVar("T")
R = TypeVar("R")
X = TypeVar("X")

Finish = Callable[[], Sequence[R | Exception]]
"""Gives as many results as the batch had items, in order; an exception in the place of one goes to its caller."""

Begin = Callable[[list[T]], Callable[[], Finish[R]]]
"""From a batch to what the engine's thread shall do, which gives what finishes it on the loop."""

Priority = Literal["monitor", "bulk"]

BULK_SHARE = 4

# What a caller wants to find again in the run that its item was part of; its trace, where there is one.
note: ContextVar[object] = ContextVar("note", default=None)

# Weight of the newest batch in the moving average of seconds per batch.
_NEWEST = 0.2
# The average begins at the quickest of so many: the first may be one that a start or a pause held up.
_FIRST = 5
# A batch counts as so many times the average at most: after one pause of the machine callers would else be refused
# for seconds, and a service that has become slower is known after some batches all the same.
_SLOWEST = 5
_LONGEST_RETRY_SECONDS = 60


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

    def most_batches(self, count: int) -> float:
        """At least as many as it takes, one after another, until so many items are done, of whatever priorities,
        and what runs before them: each takes its share as if it were bulk, with half of the threads."""
        return 2 + 2 * count * BULK_SHARE / self.max_batch

    def batches(self, priority: Priority, count: int, others: int) -> int:
        """After how many batches so many items of the priority are done, of the other one so many waiting, too:
        they share the batches until those others are done, too."""
        alone = self._alone(priority, count)
        if not others:
            return alone
        monitors = self.max_batch - self.bulk_share
        own, other = (self.bulk_share, monitors) if priority == "bulk" else (monitors, self.bulk_share)
        return min(math.ceil(count / own), math.ceil(others / other) + alone)

    def _alone(self, priority: Priority, count: int) -> int:
        """Where no others wait; batches that bulk leaves to monitors count as well, though none comes."""
        if priority == "monitor":
            return math.ceil(count / self.max_batch)
        return math.ceil(count * self.at_once / (self.bulk_batch * self.bulk_at_once))


@dataclass(frozen=True)
class BatchRun:
    """One finished run of the engine: how many items, how long each had waited, how long it took, and what the
    caller of each had noted."""

    size: int
    waited_seconds: tuple[float, ...]
    engine_seconds: float
    notes: tuple[object, ...] = ()


@dataclass(eq=False, slots=True)
class _Queued(Generic[T, R]):
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


@dataclass(eq=False, slots=True)
class _Batch(Generic[T, R]):
    """What is under way together. began: by `perf_counter`."""

    entries: list[_Queued[T, R]]
    has_bulk: bool
    began: float


class _Lane(Generic[T, R]):
    """The waiting items of one priority, oldest first; any of them leaves in constant time."""

    def __init__(self) -> None:
        self._entries: dict[_Queued[T, R], None] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def since(self) -> float:
        """When the oldest was queued, by `perf_counter`; infinite where nothing waits."""
        oldest = next(iter(self._entries), None)
        return math.inf if oldest is None else oldest.queued_at

    def has_room(self, size_bytes: int, limits: QueueLimits, count: int = 1) -> bool:
        """For so many items, which have so many bytes together."""
        # An item larger than the whole limit still gets its turn when nothing else waits.
        heavy = self._entries and self._bytes + size_bytes > limits.max_bytes
        return not heavy and len(self._entries) + count <= limits.max_items

    def add(self, entry: _Queued[T, R]) -> None:
        self._entries[entry] = None
        self._bytes += entry.size_bytes

    def forget(self, entry: _Queued[T, R]) -> None:
        if entry in self._entries:
            del self._entries[entry]
            self._bytes -= entry.size_bytes

    def take(self, most: int, now: float) -> list[_Queued[T, R]]:
        """The oldest items whose callers still wait, at most so many; those of the others are dropped."""
        taken: list[_Queued[T, R]] = []
        while self._entries and len(taken) < most:
            for entry in list(islice(self._entries, most - len(taken))):
                self.forget(entry)
                if entry.deadline <= now:
                    entry.expire()
                if not entry.future.done():
                    taken.append(entry)
        return taken


def in_thread(work: Callable[[list[T]], Sequence[R | Exception]]) -> Begin[T, R]:
    """Steps for work that the engine's thread does from end to end."""

    def begin(items: list[T]) -> Callable[[], Finish[R]]:
        def run() -> Finish[R]:
            results = work(items)
            return lambda: results

        return run

    return begin


class Batcher(Generic[T, R]):
    """Gathers items into batches, `Limits.at_once` of them at a time.

    begin: the steps of a batch. on_run: is told of every run, on the event loop.
    """

    def __init__(
        self,
        begin: Begin[T, R],
        limits: QueueLimits,
        on_run: Callable[[BatchRun], object] = lambda _: None,
    ) -> None:
        self._begin = begin
        self._limits = limits
        self._on_run = on_run
        self._lanes: dict[Priority, _Lane[T, R]] = {"monitor": _Lane(), "bulk": _Lane()}
        self._deadlines: DeadlineTimer[_Queued[T, R]] = DeadlineTimer()
        self._bulk_places = 0.0
        self._seconds_per_batch = 0.0
        self._learned = 0
        self._running: set[_Batch[T, R]] = set()
        self._closing = False
        self._scheduled: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._threads = ThreadPoolExecutor(limits.at_once, thread_name_prefix="engine")

    def __len__(self) -> int:
        """How many items are waiting."""
        return sum(map(len, self._lanes.values()))

    def oldest_seconds(self) -> float:
        """How long the item that has waited longest has waited; 0 when nothing waits."""
        return max(perf_counter() - min(lane.since for lane in self._lanes.values()), 0.0)

    async def submit(self, item: T, *, size_bytes: int, deadline: float, priority: Priority = "monitor") -> R:
        """The result for `item`; `deadline` is a time of the event loop's clock.

        Raises QueueFull, ShuttingDown, DeadlineExceeded, EngineFailed, or what its batch put in its place.
        """
        lane = self._admit(size_bytes, priority, deadline)
        loop = asyncio.get_running_loop()
        entry: _Queued[T, R] = _Queued(item, size_bytes, deadline, loop.create_future())
        lane.add(entry)
        self._deadlines.add(entry, loop)
        self._schedule(loop)
        try:
            return await entry.future
        finally:
            self._deadlines.forget(entry)
            lane.forget(entry)  # a caller that was cancelled leaves the queue at once

    async def submit_all(
        self, items: Sequence[T], *, size_bytes: int, deadline: float, priority: Priority = "monitor"
    ) -> list[R]:
        """The results for all items, each of `size_bytes`, in order; raises as `submit` for the first that fails.

        They are queued together or not at all: to refuse many at once costs less than to queue some in vain.
        """
        lane = self._admit(size_bytes * len(items), priority, deadline, len(items))
        loop = asyncio.get_running_loop()
        entries = [_Queued[T, R](item, size_bytes, deadline, loop.create_future()) for item in items]
        for entry in entries:
            lane.add(entry)
            self._deadlines.add(entry, loop)
        self._schedule(loop)
        try:
            return await asyncio.gather(*(entry.future for entry in entries))
        finally:
            for entry in entries:
                self._deadlines.forget(entry)
                lane.forget(entry)
                entry.future.cancel()

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

    def require_room(self, priority: Priority, deadline: float, count: int = 1) -> None:
        """Whether so many items could be queued now: asked before they are made, so that refusing them costs
        little. Raises QueueFull or ShuttingDown."""
        self._admit(0, priority, deadline, count)

    def _admit(self, size_bytes: int, priority: Priority, deadline: float, count: int = 1) -> _Lane[T, R]:
        """The lane of the priority, if it has room and its items are done in time; one where nothing waits has."""
        if self._closing:
            raise ShuttingDown
        lane = self._lanes[priority]
        left = deadline - asyncio.get_running_loop().time()
        if self._late(priority, len(lane), count, left) or not lane.has_room(size_bytes, self._limits, count):
            drained = math.ceil(self._seconds(priority, len(lane)))
            raise QueueFull(min(max(drained, 1), _LONGEST_RETRY_SECONDS))
        return lane

    def _late(self, priority: Priority, waiting: int, count: int, left: float) -> bool:
        """Whether so many more items behind those of the priority that wait would be done after `left` seconds."""
        if not waiting or self._limits.most_batches(len(self) + count) * self._seconds_per_batch <= left:
            return False  # which is nearly always so, and soon told
        return self._seconds(priority, waiting + count) > left

    def _seconds(self, priority: Priority, count: int) -> float:
        """Until so many items of the priority should be done, at the rate seen lately: after the batches that run
        and those that they fill, each in the thread that is free first."""
        batches = self._limits.batches(priority, count, len(self) - len(self._lanes[priority]))
        seconds, now = self._seconds_per_batch, perf_counter()
        left = sorted(max(batch.began + seconds - now, 0.0) for batch in self._running)
        free = [0.0] * (self._limits.at_once - len(left))
        before, thread = divmod(batches - 1, self._limits.at_once)
        return (free + left)[thread] + (before + 1) * seconds

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start as soon as the loop has run what is ready now: images of one form then share a batch."""
        if not self._has_thread():
            return
        if not self._limits.wait_seconds or self._full():
            self._unschedule()
            self._scheduled = loop.call_soon(self._start)
        elif self._scheduled is None:
            self._scheduled = loop.call_later(self._limits.wait_seconds, self._start)

    def _full(self) -> bool:
        """Whether one lane alone fills what it may have of a batch."""
        limits = self._limits
        return len(self._lanes["monitor"]) >= limits.max_batch or len(self._lanes["bulk"]) >= limits.bulk_batch

    def _unschedule(self) -> None:
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None

    def _has_thread(self) -> bool:
        """Whether one more batch may be under way."""
        return len(self._running) < self._limits.at_once

    def _start(self) -> None:
        """Taken twice: the first time bulk may be left out for monitors whose callers turn out to be gone."""
        self._unschedule()
        loop = asyncio.get_running_loop()
        while self._has_thread() and (batch := self._take(loop.time()) or self._take(loop.time())):
            self._running.add(batch)
            run = _after(partial(self._begin, [entry.item for entry in batch.entries]))
            self._threads.submit(self._run, batch, run, loop)

    def _take(self, now: float) -> _Batch[T, R] | None:
        bulk = self._lanes["bulk"].take(self._places_for_bulk(), now)
        self._bulk_places -= len(bulk)
        entries = self._lanes["monitor"].take(self._limits.max_batch - len(bulk), now) + bulk
        return _Batch(entries, bool(bulk), perf_counter()) if entries else None

    def _places_for_bulk(self) -> int:
        """Fractions of a place add up over batches while both wait."""
        if sum(batch.has_bulk for batch in self._running) >= self._limits.bulk_at_once:
            return 0
        if not self._lanes["monitor"]:
            self._bulk_places = self._limits.bulk_batch
        else:
            self._bulk_places = self._bulk_places % 1 + self._limits.bulk_share if self._lanes["bulk"] else 0.0
        return int(self._bulk_places)

    def _run(self, batch: _Batch[T, R], run: Callable[[], Finish[R]], loop: asyncio.AbstractEventLoop) -> None:
        """In an engine thread: one hop here, one callback back, however many items."""
        started = perf_counter()
        finish = _after(run)
        seconds = perf_counter() - started
        loop.call_soon_threadsafe(self._finish, batch, finish, started, seconds)

    def _finish(self, batch: _Batch[T, R], finish: Finish[R], started: float, seconds: float) -> None:
        entries = batch.entries
        for entry, result in zip(entries, _results(finish, len(entries)), strict=True):
            entry.settle(result)
        self._learn(perf_counter() - batch.began)
        self._running.remove(batch)
        waited = tuple(started - entry.queued_at for entry in entries)
        self._on_run(BatchRun(len(entries), waited, seconds, tuple(entry.note for entry in entries)))
        self._start()
        if not self._running:
            self._idle.set()

    def _learn(self, seconds: float) -> None:
        """From the start of a batch to that of the next: also what the loop does meanwhile."""
        self._learned += 1
        old = self._seconds_per_batch or seconds
        if self._learned <= _FIRST:
            self._seconds_per_batch = min(old, seconds)
        else:
            self._seconds_per_batch = old + _NEWEST * (min(seconds, _SLOWEST * old) - old)


def _after(step: Callable[[], Callable[[], X]]) -> Callable[[], X]:
    """The step after this one; where this one fails, one that raises what it did."""
    try:
        return step()
    except Exception as error:  # noqa: BLE001  whatever it is, it must reach the callers and not end the thread
        return partial(_raise, error)


def _raise(error: Exception) -> NoReturn:
    raise error


def _results(finish: Finish[R], count: int) -> Sequence[R | Exception]:
    try:
        results = finish()
        if len(results) != count:
            raise ValueError(f"the engine gave {len(results)} results, expected {count}")
    except Exception as error:  # of any of the three steps
        log.exception("the engine failed on a batch of %d", count)
        return [_failed(error) for _ in range(count)]
    return results


def _failed(cause: Exception) -> EngineFailed:
    """An error of its own for each caller, all with the same cause."""
    failed = EngineFailed(repr(cause))
    failed.__cause__ = cause
    return failed
