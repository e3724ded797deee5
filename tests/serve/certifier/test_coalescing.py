"""The same work for many callers, in one turn of the loop."""

import asyncio

import pytest

from goodcert.serve.certifier import coalescing
from goodcert.serve.certifier.coalescing import Coalescer


def test_what_many_ask_for_at_the_same_time_is_done_in_a_row():
    done = []

    async def caller(gathered, number):
        done.append(f"asks {number}")
        await gathered.run(lambda: done.append(f"work {number}"))
        done.append(f"goes on {number}")

    async def story():
        gathered = Coalescer()
        await asyncio.gather(*(caller(gathered, number) for number in range(3)))

    asyncio.run(story())
    assert done == [f"{what} {number}" for what in ("asks", "work", "goes on") for number in range(3)]


def test_each_caller_gets_its_own_result_or_error():
    async def story():
        gathered = Coalescer()
        return await asyncio.gather(
            gathered.run(lambda: 1 / 4), gathered.run(lambda: 1 / 0), gathered.run(lambda: 1 / 2),
            return_exceptions=True,
        )  # fmt: skip

    first, error, last = asyncio.run(story())
    assert (first, last) == (0.25, 0.5)
    assert isinstance(error, ZeroDivisionError)


def test_nothing_is_done_for_a_caller_who_has_gone():
    done = []

    async def story():
        gathered = Coalescer()
        gone, stays = (gathered.run(lambda number=number: done.append(number)) for number in range(2))
        gone.cancel()
        await stays

    asyncio.run(story())
    assert done == [1]


@pytest.mark.parametrize(("turn_seconds", "place"), [(60, 3), (0, 1)])
def test_long_work_is_spread_over_turns_so_that_the_loop_can_do_something_else(monkeypatch, turn_seconds, place):
    monkeypatch.setattr(coalescing, "TURN_SECONDS", turn_seconds)
    done = []

    async def story():
        gathered = Coalescer()
        waiting = [gathered.run(lambda: done.append("work")) for _ in range(3)]
        asyncio.get_running_loop().call_soon(done.append, "something else")
        await asyncio.gather(*waiting)

    asyncio.run(story())
    assert done.index("something else") == place
