"""The door to other threads: what is large goes through it, and nobody waits there beyond the deadline."""

import asyncio
import math
import threading

import pytest

from goodcert.serve.batching import threads
from goodcert.serve.core.errors import DeadlineExceeded


@pytest.mark.parametrize(("size_bytes", "elsewhere"), [(0, False), (64 * 2**10, False), (64 * 2**10 + 1, True)])
def test_work_leaves_the_loop_where_it_is_large(size_bytes, elsewhere):
    async def thread():
        return await threads.run_if_large(threading.current_thread, size_bytes, math.inf)

    assert (asyncio.run(thread()) is not threading.current_thread()) == elsewhere


def test_the_loop_goes_on_while_a_thread_works():
    gate = threading.Event()

    async def story():
        work = asyncio.create_task(threads.run(lambda: gate.wait(30), math.inf))
        await asyncio.sleep(0)
        gate.set()  # only the loop does
        return await work

    assert asyncio.run(story())


def test_nobody_waits_for_a_thread_beyond_the_deadline():
    gate = threading.Event()

    async def story():
        try:
            with pytest.raises(DeadlineExceeded):
                await threads.run(lambda: gate.wait(30), asyncio.get_running_loop().time() - 1)
        finally:
            gate.set()

    asyncio.run(story())


def test_what_the_work_raises_reaches_whoever_asked():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(threads.run(lambda: 1 / 0, math.inf))
