"""Workers are replaced when they end, and ended when that is asked; the workers here are fakes."""

import os
import threading
from dataclasses import dataclass, field

import pytest

from goodcert.serve.server.supervisor import Supervisor


@dataclass
class FakeWorker:
    """Ends when told to. stubborn: does not hear `terminate`."""

    pid: int
    stubborn: bool = False
    exitcode: int | None = None
    killed: bool = False
    _pipe: tuple[int, int] = field(default_factory=os.pipe)

    @property
    def sentinel(self):
        return self._pipe[0]

    def end(self, status):
        self.exitcode = status
        os.write(self._pipe[1], b".")

    def terminate(self):
        if not self.stubborn:
            self.end(0)

    def kill(self):
        self.killed = True
        self.end(-9)

    def join(self):
        pass


class Factory:
    """Starts fake workers and says when; `on_start` may end them at once."""

    def __init__(self, on_start=lambda _: None, stubborn=False):
        self.workers = []
        self.started = threading.Semaphore(0)
        self._on_start = on_start
        self._stubborn = stubborn

    def __call__(self):
        worker = FakeWorker(100 + len(self.workers), self._stubborn)
        self.workers.append(worker)
        self._on_start(worker)
        self.started.release()
        return worker

    def wait_for(self, count):
        for _ in range(count):
            assert self.started.acquire(timeout=30)


class Clock:
    """Jumps by an hour whenever it is asked: nothing ends young, nobody waits."""

    def __init__(self, step):
        self._step = step
        self._now = 0

    def __call__(self):
        self._now += self._step
        return self._now


@pytest.fixture
def supervise():
    """Runs a supervisor in a thread; gives it and a function that stops it and returns its status."""
    threads = []

    def begin(factory, count=2, **options):
        supervisor = Supervisor(factory, count, options.pop("grace_seconds", 30), **options)
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(supervisor.run()))
        thread.start()
        threads.append(thread)

        def status():
            thread.join(30)
            return statuses[0]

        return supervisor, status

    yield begin
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_it_starts_as_many_as_asked_and_ends_them_with_status_0(supervise):
    factory = Factory()
    supervisor, status = supervise(factory, 3)
    factory.wait_for(3)
    supervisor.stop()
    assert status() == 0
    assert [worker.exitcode for worker in factory.workers] == [0, 0, 0]


@pytest.mark.parametrize("exitcode", [-9, 0, -11])
def test_a_worker_that_ends_is_replaced(supervise, exitcode):
    factory, ended = Factory(), []
    supervisor, status = supervise(factory, ended=ended.append, clock=Clock(3600))
    factory.wait_for(2)
    factory.workers[0].end(exitcode)
    factory.wait_for(1)
    supervisor.stop()
    assert status() == 0
    assert ended == [100]
    assert len(factory.workers) == 3


def test_workers_that_end_young_again_and_again_are_replaced_after_a_wait_that_doubles():
    supervisor = Supervisor(Factory(lambda worker: worker.end(1)), 1, 1, clock=lambda: 5.0)
    (slot,) = supervisor._slots
    waits = []
    for _ in range(8):
        slot.due = 5.0
        supervisor._fill()
        slot.starts = 2  # not the first
        supervisor._reap()
        waits.append(slot.due - 5)
    assert waits == [0, 1, 2, 4, 8, 16, 30, 30]
    assert supervisor._patience() == 30


@pytest.mark.parametrize("exitcode", [1, 2, 3])
def test_a_first_worker_that_cannot_start_ends_the_service(supervise, exitcode):
    factory = Factory()
    _, status = supervise(factory, clock=Clock(3600))
    factory.wait_for(2)
    factory.workers[1].end(exitcode)
    assert status() == exitcode
    assert factory.workers[0].exitcode == 0


def test_a_later_worker_that_cannot_start_is_tried_again(supervise):
    factory = Factory(lambda worker: worker.end(3) if worker.pid == 102 else None)
    supervisor, status = supervise(factory, clock=Clock(3600))
    factory.wait_for(2)
    factory.workers[0].end(-9)
    factory.wait_for(2)
    supervisor.stop()
    assert status() == 0


def test_a_worker_that_does_not_end_in_time_is_killed_and_the_status_says_so(supervise):
    factory = Factory(stubborn=True)
    supervisor, status = supervise(factory, clock=Clock(3600))
    factory.wait_for(2)
    supervisor.stop()
    assert status() == 1
    assert all(worker.killed for worker in factory.workers)
