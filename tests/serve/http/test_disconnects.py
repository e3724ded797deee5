"""Callers that hang up, and bodies that do not come; events decide what happens when."""

import asyncio

import pytest

from goodcert.serve.core.errors import BodyBroken, BodyTooSlow, CallerGone
from goodcert.serve.http.disconnects import DisconnectWatcher

SOON, LATE = 0.001, 1000.0


class Caller:
    """Sends an empty body, then says nothing until it hangs up; counts how often somebody listened after that."""

    def __init__(self):
        self.hung_up = asyncio.Event()
        self.sent = False
        self.heard = 0

    async def receive(self):
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": b"", "more_body": False}
        self.heard += 1
        await self.hung_up.wait()
        return {"type": "http.disconnect"}


async def attend(disconnects, caller, work, seconds=LATE, reads=False):
    with disconnects.attend(caller.receive, asyncio.get_running_loop().time() + seconds) as call:
        if not reads:
            await call.body()
        return await work


def run(test):
    asyncio.run(asyncio.wait_for(test(), 30))


def test_work_for_a_caller_that_hangs_up_is_cancelled():
    async def test():
        caller, work = Caller(), asyncio.get_running_loop().create_future()
        caller.hung_up.set()
        with pytest.raises(CallerGone):
            await attend(DisconnectWatcher(SOON), caller, work)
        assert work.cancelled()

    run(test)


def test_the_task_goes_on_after_its_caller_has_gone():
    async def test():
        caller = Caller()
        caller.hung_up.set()
        with pytest.raises(CallerGone):
            await attend(DisconnectWatcher(SOON), caller, asyncio.get_running_loop().create_future())
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)

    run(test)


def test_who_waits_gets_the_answer():
    async def test():
        work = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(10 * SOON, work.set_result, "answer")
        assert await attend(DisconnectWatcher(SOON), Caller(), work) == "answer"

    run(test)


def test_a_quick_answer_costs_no_listening():
    async def test():
        caller, work = Caller(), asyncio.get_running_loop().create_future()
        work.set_result("answer")
        disconnects = DisconnectWatcher(LATE)
        assert await attend(disconnects, caller, work) == "answer"
        assert caller.heard == 0
        disconnects.close()

    run(test)


def test_a_body_that_does_not_come_is_given_up():
    async def test():
        work = asyncio.get_running_loop().create_future()
        with pytest.raises(BodyTooSlow):
            await attend(DisconnectWatcher(SOON), Caller(), work, seconds=SOON, reads=True)

    run(test)


def test_nobody_listens_while_the_body_still_comes():
    async def test():
        caller, work = Caller(), asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(10 * SOON, work.set_result, "body")
        assert await attend(DisconnectWatcher(SOON), caller, work, reads=True) == "body"
        assert caller.heard == 0

    run(test)


def test_to_be_cancelled_by_somebody_else_is_not_taken_for_a_caller_gone():
    async def test():
        task = asyncio.create_task(
            attend(DisconnectWatcher(LATE), Caller(), asyncio.get_running_loop().create_future())
        )
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(test)


async def body_of(*messages):
    waiting = list(messages)

    async def receive():
        return waiting.pop(0)

    with DisconnectWatcher().attend(receive, asyncio.get_running_loop().time() + LATE) as call:
        return await call.body()


def test_a_body_is_put_together_from_its_chunks():
    chunks = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request", "body": b"b"}]
    assert asyncio.run(body_of(*chunks)) == b"ab"


def test_a_caller_who_goes_away_while_it_sends_is_noticed():
    with pytest.raises(BodyBroken):
        asyncio.run(body_of({"type": "http.disconnect"}))
