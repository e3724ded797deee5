"""The batcher with toy functions; events, not time, decide what happens when."""

import asyncio
import math
import threading
from contextlib import asynccontextmanager
from functools import wraps

import pytest

from goodcert.serve.batching import batcher, lanes
from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.core.errors import DeadlineExceeded, EngineFailed, QueueFull, ShuttingDown


class InThread:
    """Work that the engine's thread does from end to end."""

    def prepare(self, items):
        return items

    def finish(self, done):
        return done


class Double(InThread):
    """Doubles numbers, when `gate` is open; "slow" waits until `slow` is set, too. A batch takes `seconds` of the
    time `now`, which else stands still."""

    def __init__(self):
        self.gate, self.slow = threading.Event(), threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches = []
        self.now = self.seconds = 0.0

    def run(self, items):
        self.batches.append(list(items))
        self.entered.release()
        assert self.gate.wait(30)
        assert "slow" not in items or self.slow.wait(30)
        self.now += self.seconds
        if "boom" in items:
            raise RuntimeError("secret")
        return [KeyError(item) if item == "odd" else item * 2 for item in items]

    async def begun(self):
        """Wait for the engine to have taken one more batch."""
        assert await asyncio.to_thread(self.entered.acquire, True, 30)


class Bench:
    """A batcher, its work, and a short way to submit."""

    def __init__(self, **limits):
        self.work = Double()
        self.runs = []
        self.batcher = Batcher(self.work, QueueLimits(**limits), self.runs.append)

    def submit(self, item, size_bytes=1, seconds=30.0, priority="monitor"):
        """A task that is already in the queue when this returns control to the loop once."""
        deadline = asyncio.get_running_loop().time() + seconds
        waiting = self.batcher.submit(item, size_bytes=size_bytes, deadline=deadline, priority=priority)
        return asyncio.ensure_future(waiting)

    def submit_all(self, items, size_bytes=1, seconds=30.0, priority="monitor"):
        deadline = asyncio.get_running_loop().time() + seconds
        waiting = self.batcher.submit_all(items, size_bytes=size_bytes, deadline=deadline, priority=priority)
        return asyncio.ensure_future(waiting)

    def bulk(self, count, first=1000):
        """So many items of bulk, counted from `first`."""
        return [self.submit(first + i, priority="bulk") for i in range(count)]

    async def block(self):
        """Put the engine to work on a first item and hold it there."""
        self.work.gate.clear()
        task = self.submit(0)
        await self.work.begun()
        return task


@asynccontextmanager
async def bench(**limits):
    made = Bench(**limits)
    try:
        yield made
    finally:
        made.work.gate.set()
        made.work.slow.set()
        await made.batcher.close()


@asynccontextmanager
async def bench_after(*seconds, **limits):
    """A bench with the time of its work, which has had batches that took so long."""
    with pytest.MonkeyPatch.context() as patch:
        async with bench(**limits) as made:
            for module in (batcher, lanes):
                patch.setattr(module, "perf_counter", lambda: made.work.now)
            for made.work.seconds in seconds:
                await made.submit(0)
                await made.work.begun()
            made.work.seconds = 0.0
            yield made


def claim(test):
    """Run an async test to its end."""

    @wraps(test)
    def run(**given):
        asyncio.run(asyncio.wait_for(test(**given), 60))

    return run


@claim
async def test_everyone_gets_their_own_answer():
    async with bench() as b:
        assert await asyncio.gather(*map(b.submit, range(200))) == [2 * i for i in range(200)]


@claim
async def test_the_next_batch_is_whatever_queued_while_the_engine_ran():
    async with bench() as b:
        first = await b.block()
        others = [b.submit(i) for i in (1, 2, 3)]
        await asyncio.sleep(0)
        b.work.gate.set()
        await asyncio.gather(first, *others)
        assert b.work.batches == [[0], [1, 2, 3]]


@claim
async def test_items_submitted_together_share_the_first_batch():
    async with bench() as b:
        await asyncio.gather(*map(b.submit, range(5)))
        assert b.work.batches == [[0, 1, 2, 3, 4]]


@claim
async def test_no_batch_is_larger_than_the_limit():
    async with bench(max_batch=4) as b:
        await asyncio.gather(*map(b.submit, range(10)))
        assert [len(batch) for batch in b.work.batches] == [4, 4, 2]


@claim
async def test_waiting_for_company_ends_when_the_batch_is_full():
    async with bench(max_batch=3, wait_seconds=1000) as b:
        assert await asyncio.gather(*map(b.submit, range(3))) == [0, 2, 4]


@claim
async def test_a_lone_item_waits_no_longer_than_it_was_told():
    async with bench(wait_seconds=0.001) as b:
        assert await b.submit(1) == 2


@claim
async def test_cancelled_caller_does_not_hold_its_batch():
    async with bench() as b:
        first = await b.block()
        one, gone, three = (b.submit(i) for i in (1, 2, 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        b.work.gate.set()
        assert await asyncio.gather(first, one, three) == [0, 2, 6]
        assert b.work.batches == [[0], [1, 3]]


@claim
async def test_a_caller_cancelled_while_the_engine_runs_costs_the_others_nothing():
    async with bench() as b:
        b.work.gate.clear()
        one, gone, three = (b.submit(i) for i in (1, 2, 3))
        await b.work.begun()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        b.work.gate.set()
        assert await asyncio.gather(one, three) == [2, 6]


@claim
async def test_cancelled_callers_leave_room_in_the_queue_at_once():
    async with bench(max_items=2) as b:
        first = await b.block()
        for _ in range(10):
            gone = [b.submit(1), b.submit(2)]
            await asyncio.sleep(0)
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
        assert len(b.batcher) == 0
        b.work.gate.set()
        await first


@claim
async def test_an_item_past_its_deadline_never_reaches_the_engine():
    async with bench() as b:
        first = await b.block()
        late, kept = b.submit(1, seconds=-1), b.submit(2)
        with pytest.raises(DeadlineExceeded):
            await late
        b.work.gate.set()
        assert await asyncio.gather(first, kept) == [0, 4]
        assert b.work.batches == [[0], [2]]


@claim
async def test_a_deadline_ends_the_wait_although_the_engine_is_busy():
    async with bench() as b:
        first = await b.block()
        with pytest.raises(DeadlineExceeded):
            await b.submit(1, seconds=0.001)
        assert not first.done()


@claim
async def test_full_queue_refuses_with_a_retry_after():
    async with bench(max_items=2) as b:
        first = await b.block()
        waiting = [b.submit(1), b.submit(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            b.batcher.require_room("monitor", math.inf)
        b.batcher.require_room("bulk", math.inf)
        with pytest.raises(QueueFull) as refusal:
            await b.submit(3)
        assert 1 <= refusal.value.retry_after_seconds <= 60
        b.work.gate.set()
        assert await asyncio.gather(first, *waiting) == [0, 2, 4]


@claim
async def test_retry_after_grows_with_the_time_a_batch_takes():
    async with bench_after(2.5, max_items=4, max_batch=2) as b:
        first = await b.block()
        waiting = [b.submit(i) for i in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as refusal:
            await b.submit(9)
        assert refusal.value.retry_after_seconds == 8  # three batches of 2.5 s, of which one runs
        b.work.gate.set()
        await asyncio.gather(first, *waiting)


@claim
async def test_an_item_that_would_be_too_late_is_refused_at_once():
    async with bench_after(10.0, max_batch=4) as b:
        first = await b.block()
        waiting = [b.submit(i) for i in range(1, 5)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as refusal:
            await b.submit(5, seconds=25)  # the batch that runs, one that is full, and its own: 30 s
        assert refusal.value.retry_after_seconds == 20
        waiting.append(b.submit(5, seconds=31))
        b.work.gate.set()
        assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("seconds", [[*[0.1] * 9, 1000.0], [1000.0, 0.1, 0.1]], ids=["later", "at the start"])
@claim
async def test_one_pause_of_the_machine_refuses_nobody_afterwards(seconds):
    async with bench_after(*seconds, max_batch=4) as b:
        first = await b.block()
        waiting = [b.submit(i, seconds=5) for i in range(1, 9)]
        b.work.gate.set()
        assert await asyncio.gather(first, *waiting) == [2 * i for i in range(9)]


@claim
async def test_a_service_that_has_become_slower_is_found_out_after_some_batches():
    async with bench_after(0.1, *[10.0] * 20, max_batch=4) as b:
        first = await b.block()
        waiting = [b.submit(1)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await b.submit(2, seconds=15)
        b.work.gate.set()
        assert await asyncio.gather(first, *waiting) == [0, 2]


def in_slots(count, **limits):
    """So many batches of one item under way."""
    return bench(max_batch=1, at_once=count, **limits)


@claim
async def test_an_item_is_answered_when_it_is_done_whatever_its_neighbours_take():
    async with in_slots(2) as b:
        slow = b.submit("slow")
        assert await asyncio.gather(*map(b.submit, range(5))) == [0, 2, 4, 6, 8]
        assert not slow.done()
        b.work.slow.set()
        assert await slow == "slowslow"


@claim
async def test_no_more_batches_are_under_way_than_the_limit():
    async with in_slots(2) as b:
        first = await b.block()
        others = [b.submit(i) for i in range(1, 5)]
        await b.work.begun()
        assert len(b.batcher) == 3
        b.work.gate.set()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8]


@claim
async def test_bulk_alone_has_all_threads_but_one_where_a_monitor_need_not_wait_for_it():
    async with in_slots(3) as b:
        bulk = [b.submit("slow", priority="bulk") for _ in range(4)]
        await b.work.begun()
        await b.work.begun()
        assert len(b.batcher) == 2
        assert await b.submit(1) == 2
        assert b.work.batches == [["slow"], ["slow"], [1]]
        b.work.slow.set()
        await asyncio.gather(*bulk)


@claim
async def test_monitors_without_end_leave_bulk_its_share_of_several_threads():
    async with in_slots(2) as b:
        slow, first = b.submit("slow"), await b.block()
        await b.work.begun()
        bulk, monitors = b.bulk(2), [b.submit(i) for i in range(1, 9)]
        await asyncio.sleep(0)
        b.work.gate.set()
        await asyncio.gather(first, *bulk, *monitors)
        assert [batch[0] for batch in b.work.batches[2:]] == [1, 2, 3, 1000, 4, 5, 6, 1001, 7, 8]
        b.work.slow.set()
        await slow


@claim
async def test_with_one_thread_bulk_has_its_turn():
    async with in_slots(1) as b:
        assert await asyncio.gather(*b.bulk(3, first=0)) == [0, 2, 4]


@claim
async def test_close_finishes_what_is_under_way_in_every_thread():
    async with in_slots(2) as b:
        slow, others = b.submit("slow"), [*map(b.submit, range(3)), *b.bulk(2)]
        await asyncio.gather(*others)
        closing = asyncio.ensure_future(b.batcher.close())
        await asyncio.sleep(0)
        assert not closing.done()
        b.work.slow.set()
        await closing
        assert slow.result() == "slowslow"


@claim
async def test_retry_after_shrinks_with_the_number_of_threads():
    async with bench_after(2.5, max_items=4, max_batch=1, at_once=3) as b:
        others = [await b.block(), b.submit(1), b.submit(2)]
        await b.work.begun()
        await b.work.begun()
        others += [b.submit(i) for i in range(3, 7)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as refusal:
            await b.submit(9)
        assert refusal.value.retry_after_seconds == 8  # those that run, three, and the last one, 2.5 s each
        b.work.gate.set()
        await asyncio.gather(*others)


@claim
async def test_an_item_that_the_thread_which_is_free_first_does_in_time_is_taken():
    async with bench_after(10.0, max_batch=1, at_once=2) as b:
        first = await b.block()
        b.work.now += 9.0
        others = [b.submit(i) for i in range(1, 4)]
        await b.work.begun()
        with pytest.raises(QueueFull):
            await b.submit(4, seconds=20)  # in the thread that is free in 1 s, 10 s after 2
        others.append(b.submit(4, seconds=22))
        b.work.gate.set()
        assert await asyncio.gather(first, *others) == [0, 2, 4, 6, 8]


@claim
async def test_where_nothing_waits_even_the_shortest_deadline_gets_its_turn():
    async with bench_after(1000.0) as b:
        assert await b.submit(1, seconds=30) == 2


@claim
async def test_the_queue_is_bounded_by_bytes_too():
    async with bench(max_bytes=10) as b:
        first = await b.block()
        kept = b.submit(1, size_bytes=10)
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await b.submit(2, size_bytes=1)
        b.work.gate.set()
        assert await asyncio.gather(first, kept) == [0, 2]
        assert await b.submit(3, size_bytes=10) == 6  # the bytes came back


@claim
async def test_an_item_larger_than_the_whole_limit_gets_its_turn():
    async with bench(max_bytes=10) as b:
        assert await b.submit(1, size_bytes=1000) == 2


@claim
async def test_an_engine_that_raises_fails_its_batch_and_no_other():
    async with bench() as b:
        first = await b.block()
        failing = [b.submit("boom"), b.submit("neighbour")]
        await asyncio.sleep(0)
        b.work.gate.set()
        assert await first == 0
        errors = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(error) for error in errors] == [EngineFailed, EngineFailed]
        assert errors[0] is not errors[1]
        assert await b.submit(4) == 8


def fails(_):
    raise RuntimeError("secret")


@pytest.mark.parametrize("step", ["prepare", "run", "finish"])
@claim
async def test_whichever_step_raises_the_batch_fails_and_the_next_does_not(step):
    async with bench() as b:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(b.work, step, fails)
            errors = await asyncio.gather(*map(b.submit, range(3)), return_exceptions=True)
        assert [(type(error), error.__cause__.args) for error in errors] == [(EngineFailed, ("secret",))] * 3
        assert await b.submit(4) == 8


@claim
async def test_the_loop_prepares_and_finishes_and_the_engines_thread_runs():
    async with bench() as b:
        seen = []
        for step in ("prepare", "run", "finish"):
            does = getattr(b.work, step)
            setattr(
                b.work, step, lambda given, does=does: (seen.append(threading.current_thread()), does(given))[1]
            )
        assert await b.submit(1) == 2
        loops, engine = threading.current_thread(), seen[1]
        assert seen == [loops, engine, loops]
        assert engine.name.startswith("engine")


@claim
async def test_an_error_in_the_place_of_a_result_goes_to_its_caller_alone():
    async with bench() as b:
        odd, even = b.submit("odd"), b.submit("ab")
        with pytest.raises(KeyError):
            await odd
        assert await even == "abab"
        assert len(b.work.batches) == 1


@claim
async def test_too_few_answers_are_an_error_and_not_a_mixture():
    async with bench() as b:
        b.work.finish = lambda done: done[1:]
        errors = await asyncio.gather(*map(b.submit, range(3)), return_exceptions=True)
        assert [type(error) for error in errors] == [EngineFailed] * 3


@claim
async def test_close_finishes_what_waits_and_refuses_what_comes():
    async with bench() as b:
        first = await b.block()
        waiting = b.submit(1)
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(b.batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDown):
            await b.submit(2)
        b.work.gate.set()
        await closing
        assert await asyncio.gather(first, waiting) == [0, 2]


@claim
async def test_close_does_not_wait_for_company():
    async with bench(wait_seconds=1000) as b:
        waiting = b.submit(1)
        await asyncio.sleep(0)
        await b.batcher.close()
        assert await waiting == 2


@claim
async def test_every_run_is_reported_with_its_size_and_times():
    async with bench() as b:
        await asyncio.gather(*map(b.submit, range(3)))
        (run,) = b.runs
        assert run.size == len(run.waited_seconds) == 3
        assert all(seconds >= 0 for seconds in (*run.waited_seconds, run.engine_seconds))


@claim
async def test_monitors_go_first_and_bulk_has_a_quarter_of_every_batch():
    async with bench(max_batch=8) as b:
        first = await b.block()
        bulk, monitors = b.bulk(5), [b.submit(i) for i in range(1, 13)]
        await asyncio.sleep(0)
        b.work.gate.set()
        await asyncio.gather(first, *bulk, *monitors)
        assert b.work.batches == [
            [0],
            [1, 2, 3, 4, 5, 6, 1000, 1001],
            [7, 8, 9, 10, 11, 12, 1002, 1003],
            [1004],
        ]


@claim
async def test_a_share_that_is_no_whole_number_adds_up():
    async with bench(max_batch=6) as b:
        first = await b.block()
        bulk, monitors = b.bulk(6), [b.submit(i) for i in range(1, 19)]
        await asyncio.sleep(0)
        b.work.gate.set()
        await asyncio.gather(first, *bulk, *monitors)
        shares = [sum(item >= 1000 for item in batch) for batch in b.work.batches[1:]]
        assert shares == [1, 2, 1, 2]


@claim
async def test_bulk_alone_runs_in_short_batches_so_that_a_monitor_waits_for_a_quarter_at_most():
    async with bench(max_batch=8) as b:
        first = await b.block()
        bulk = b.bulk(5)
        await asyncio.sleep(0)
        b.work.gate.set()
        await asyncio.gather(first, *bulk)
        assert list(map(len, b.work.batches)) == [1, 2, 2, 1]


@claim
async def test_monitors_without_end_do_not_starve_bulk_even_in_batches_of_one():
    async with bench(max_batch=1) as b:
        first = await b.block()
        bulk, monitors = b.bulk(2), [b.submit(i) for i in range(1, 9)]
        await asyncio.sleep(0)
        b.work.gate.set()
        await asyncio.gather(first, *bulk, *monitors)
        assert [batch[0] for batch in b.work.batches] == [0, 1, 2, 3, 1000, 4, 5, 6, 1001, 7, 8]


@claim
async def test_bulk_has_its_turn_at_once_where_the_monitors_before_it_are_gone():
    async with bench(max_batch=1) as b:
        gone, bulk = b.submit(1), b.submit(1000, priority="bulk")
        await asyncio.sleep(0)
        gone.cancel()
        assert await bulk == 2000
        assert b.work.batches == [[1000]]


@claim
async def test_bulk_that_fills_its_lane_leaves_room_for_monitors():
    async with bench(max_items=2) as b:
        first = await b.block()
        bulk = b.bulk(2)
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await b.submit(9, priority="bulk")
        monitor = b.submit(1)
        b.work.gate.set()
        assert await asyncio.gather(first, monitor, *bulk) == [0, 2, 2000, 2002]


@claim
async def test_many_items_have_room_together_or_not():
    async with bench_after(2.0, max_items=4, max_bytes=100) as b:
        first = await b.block()
        one = b.submit(1, size_bytes=50)
        await asyncio.sleep(0)
        for count, size_bytes in ((4, 1), (2, 26)):
            with pytest.raises(QueueFull) as refusal:
                await b.submit_all(range(count), size_bytes)
            assert refusal.value.retry_after_seconds == 4  # the batch that runs, and the next
        assert len(b.batcher) == 1
        three = b.submit_all([2, 3, 4], 10)
        bulk = b.submit_all([5, 6], 1000, priority="bulk")  # nothing waits there
        b.work.gate.set()
        assert await asyncio.gather(first, one, three, bulk) == [0, 2, [4, 6, 8], [10, 12]]


@claim
async def test_of_many_items_whose_caller_is_gone_none_is_left():
    async with bench() as b:
        first = await b.block()
        many = b.submit_all([1, 2, 3])
        await asyncio.sleep(0)
        assert len(b.batcher) == 3
        many.cancel()
        await asyncio.wait([many])
        assert len(b.batcher) == 0
        b.work.gate.set()
        assert await first == 0


@claim
async def test_many_items_that_are_late_are_dropped_together():
    async with bench() as b:
        first = await b.block()
        with pytest.raises(DeadlineExceeded):
            await b.submit_all([1, 2, 3], seconds=0.001)
        assert len(b.batcher) == 0
        b.work.gate.set()
        assert await first == 0


@claim
async def test_retry_after_counts_what_the_other_lane_takes_of_the_engine():
    async with bench_after(2.0, max_items=4, max_batch=4) as b:
        first = await b.block()
        waiting = [b.submit(i) for i in range(3)] + b.bulk(4)
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as bulk:
            await b.submit(9, priority="bulk")
        waiting.append(b.submit(3))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull) as monitor:
            await b.submit(9)
        assert bulk.value.retry_after_seconds == 10  # after the batch that runs, four of 2 s with a place for it
        assert monitor.value.retry_after_seconds == 6  # two, of three
        b.work.gate.set()
        await asyncio.gather(first, *waiting)


@claim
async def test_a_nearer_deadline_does_not_wait_for_a_farther_one():
    async with bench() as b:
        first = await b.block()
        patient, hasty = b.submit(1, seconds=30), b.submit(2, seconds=0.001)
        with pytest.raises(DeadlineExceeded):
            await hasty
        b.work.gate.set()
        assert await asyncio.gather(first, patient) == [0, 2]


@claim
async def test_every_deadline_is_kept_by_the_one_timer():
    async with bench() as b:
        first = await b.block()
        waiting = [b.submit(i, seconds=i / 1000) for i in range(5, 0, -1)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in errors] == [DeadlineExceeded] * 5
        b.work.gate.set()
        assert await first == 0
