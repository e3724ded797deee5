"""Models change in every process or it is said that they did not; the processes here are tasks of one."""

import asyncio
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from goodcert.serve.core.errors import NotEverywhere, UnknownModel
from goodcert.serve.repository.cluster import Cluster
from goodcert.serve.repository.repository import ModelRefused


class Shelf:
    """A repository that writes down what it is told; error: is raised instead. gate: what it waits for."""

    def __init__(self, error=None):
        self.told = []
        self.error = error
        self.entered, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def load(self, name):
        await self._do("load", name)

    async def unload(self, name):
        await self._do("unload", name)

    async def _do(self, verb, name):
        self.entered.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        self.told.append((verb, name))


@pytest.fixture
def folder():
    """Not tmp_path, whose name is too long for a socket."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def run(folder, story, *shelves):
    """`story`, given as many processes, each before one of the shelves."""

    async def told():
        made = [make() for make in shelves]
        async with AsyncExitStack() as stack:
            processes = [Cluster.join(folder) for _ in made]
            for process, shelf in zip(processes, made, strict=True):
                await stack.enter_async_context(process.listening(shelf))
            await story(*processes, *made)

    asyncio.run(told())


def join(folder):
    """A process that joins and goes."""
    joined = Cluster.join(folder)
    joined._listener.close()
    return joined


def test_every_process_does_what_one_is_asked(folder):
    async def story(first, second, shelf, other):
        await first.unload("tiny")
        await second.load("tiny")
        assert shelf.told == other.told == [("unload", "tiny"), ("load", "tiny")]

    run(folder, story, Shelf, Shelf)


def test_changes_at_once_have_one_order_everywhere(folder):
    async def story(first, second, shelf, other):
        changes = [
            change
            for n in range(10)
            for change in (first.load(f"a{n}"), second.unload(f"b{n}"), first.unload(f"c{n}"))
        ]
        await asyncio.gather(*changes)
        assert len(shelf.told) == 30
        assert shelf.told == other.told

    run(folder, story, Shelf, Shelf)


def test_what_one_process_refuses_is_refused_with_its_reason(folder):
    async def story(first, *_):
        with pytest.raises(ModelRefused, match="Loop"):
            await first.load("tiny")

    run(folder, story, Shelf, lambda: Shelf(ModelRefused("node 'n' (Loop)")))


def test_what_nobody_knows_is_unknown_and_what_some_know_is_not(folder):
    async def story(first, _, shelf, other):
        with pytest.raises(UnknownModel):
            await first.unload("nobody")
        assert not join(folder).unloaded
        shelf.error = None
        await first.unload("tiny")
        assert shelf.told == [("unload", "tiny")]
        assert other.told == []

    run(folder, story, lambda: Shelf(UnknownModel("nobody")), lambda: Shelf(UnknownModel("nobody")))


def test_a_process_that_fails_is_not_taken_for_done(folder):
    async def story(first, *_):
        with pytest.raises(NotEverywhere):
            await first.load("tiny")

    run(folder, story, Shelf, lambda: Shelf(RuntimeError("a test")))


def test_a_process_that_never_answers_is_not_taken_for_done(folder):
    async def story(first, _):
        silent = Cluster.join(folder)
        first._patience_seconds = 0.05
        with pytest.raises(NotEverywhere):
            await first.load("tiny")
        silent._listener.close()

    run(folder, story, Shelf)


def test_a_process_that_is_gone_is_forgotten(folder):
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(folder / "gone.sock"))

    async def story(first, shelf):
        await first.load("tiny")
        assert shelf.told == [("load", "tiny")]
        assert not (folder / "gone.sock").exists()

    run(folder, story, Shelf)


def test_who_joins_later_knows_what_was_unloaded(folder):
    async def story(first, _):
        await first.unload("tiny")
        await first.unload("other")
        assert join(folder).unloaded == {"tiny", "other"}

    run(folder, story, Shelf)


def test_what_was_loaded_again_is_not_among_it(folder):
    async def story(first, _):
        await first.unload("tiny")
        await first.load("tiny")
        assert join(folder).unloaded == frozenset()

    run(folder, story, Shelf)


def test_who_joins_during_a_change_waits_for_its_end(folder):
    async def story(first, shelf):
        shelf.gate.clear()
        change = asyncio.create_task(first.unload("tiny"))
        await shelf.entered.wait()
        joining = asyncio.create_task(asyncio.to_thread(join, folder))
        done, _ = await asyncio.wait([joining], timeout=0.05)
        assert not done
        shelf.gate.set()
        await change
        assert (await joining).unloaded == {"tiny"}

    run(folder, story, Shelf)
