"""When an item will be done: by hand, and against the lanes themselves."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodcert.serve.batching.forecast import BatchTime, at_most, batches, seconds_until_done
from goodcert.serve.batching.lanes import Lanes, Priority, QueuedItem, QueueLimits

PRIORITIES: tuple[Priority, ...] = ("monitor", "bulk")


@pytest.mark.parametrize(
    ("max_batch", "priority", "count", "others", "expected"),
    [
        (8, "monitor", 9, 0, 2),
        (8, "bulk", 5, 0, 3),  # 2 at once
        (8, "monitor", 12, 100, 2),  # 6 at once
        (8, "bulk", 5, 100, 3),
        (1, "bulk", 3, 100, 12),  # one in every four
        (1, "bulk", 3, 1, 5),  # at most two for the one monitor, and three of its own
        (1, "monitor", 3, 100, 4),
        (64, "monitor", 128, 1, 3),
    ],
)
def test_the_batches_to_come_are_counted_by_what_each_lane_may_have(max_batch, priority, count, others, expected):
    assert batches(QueueLimits(max_batch), priority, count, others) == expected


@pytest.mark.parametrize(
    ("at_once", "priority", "count", "others", "expected"),
    [
        (3, "monitor", 7, 0, 7),
        (2, "bulk", 3, 0, 6),  # every other batch is left to monitors
        (7, "bulk", 6, 0, 7),
        (2, "bulk", 3, 100, 12),  # one in every four
        (2, "bulk", 3, 1, 8),
    ],
)
def test_of_batches_of_one_those_that_bulk_leaves_count_as_well(at_once, priority, count, others, expected):
    assert batches(QueueLimits(1, at_once=at_once), priority, count, others) == expected


def last_batch(limits: QueueLimits, priority: Priority, count: int, others: int) -> int:
    """In which batch, one after another, the last of `count` items of the priority is, with others beside them."""
    lanes: Lanes[int, int] = Lanes(limits)
    loop = asyncio.new_event_loop()
    try:
        for each, number in ((priority, count), ("bulk" if priority == "monitor" else "monitor", others)):
            for _ in range(number):
                lanes[each].add(QueuedItem(0, 1, 1.0, loop.create_future()))
        taken = 0
        while len(lanes[priority]):
            assert lanes.take(0.0, ())
            taken += 1
        return taken
    finally:
        loop.close()


@given(st.integers(1, 64), st.integers(1, 100), st.integers(0, 100), st.sampled_from(PRIORITIES))
def test_no_item_is_in_a_later_batch_than_was_foreseen(
    max_batch: int, count: int, others: int, priority: Priority
) -> None:
    limits = QueueLimits(max_batch)
    assert last_batch(limits, priority, count, others) <= batches(limits, priority, count, others)


@given(
    st.integers(1, 70), st.integers(1, 8), st.integers(1, 100), st.integers(0, 100), st.sampled_from(PRIORITIES)
)
def test_what_is_told_at_a_glance_is_no_less_than_the_forecast(
    max_batch: int, at_once: int, count: int, others: int, priority: Priority
) -> None:
    limits = QueueLimits(max_batch, at_once=at_once)
    seconds = seconds_until_done(limits, priority, count, others, [0.0] * at_once, 1.0)
    assert seconds <= at_most(count + others, 1.0)


@given(
    st.integers(1, 64), st.integers(1, 8), st.integers(1, 100), st.integers(0, 100), st.sampled_from(PRIORITIES)
)
def test_more_items_are_never_done_sooner(
    max_batch: int, at_once: int, count: int, others: int, priority: Priority
) -> None:
    def seconds(count: int, others: int) -> float:
        return seconds_until_done(limits, priority, count, others, [0.5], 2.0)

    limits = QueueLimits(max_batch, at_once=at_once)
    assert seconds(count, others) <= min(seconds(count + 1, others), seconds(count, others + 1))


@pytest.mark.parametrize(
    ("at_once", "running", "count", "seconds"),
    [
        (1, [], 4, 10.0),
        (1, [4.0], 4, 16.0),  # the one that runs needs 6 s more
        (1, [25.0], 4, 10.0),  # it should be over already
        (1, [0.0], 9, 40.0),
        (2, [9.0], 4, 10.0),  # in the thread that is free now
        (2, [9.0], 8, 11.0),  # the second batch in the one that is free in 1 s
        (2, [9.0], 12, 20.0),
        (2, [9.0, 2.0], 8, 18.0),
    ],
)
def test_each_batch_begins_in_the_thread_that_is_free_first(at_once, running, count, seconds):
    limits = QueueLimits(4, at_once=at_once)
    assert seconds_until_done(limits, "monitor", count, 0, running, 10.0) == seconds


def after(*seconds: float) -> float:
    """The average after batches that took so long."""
    time = BatchTime()
    for each in seconds:
        time = time.after(each)
    return time.seconds


def test_the_average_begins_at_the_quickest_of_five_and_then_moves_by_a_fifth_of_each_step() -> None:
    assert after() == 0
    assert after(9.0, 3.0, 2.0, 4.0, 5.0) == 2.0
    assert after(9.0, 3.0, 2.0, 4.0, 5.0, 4.0) == pytest.approx(2.4)  # 2 + (4 - 2) / 5


def test_one_pause_counts_as_five_batches_at_most() -> None:
    assert after(*[2.0] * 5, 1000.0) == pytest.approx(3.6)  # 2 + (5 * 2 - 2) / 5
