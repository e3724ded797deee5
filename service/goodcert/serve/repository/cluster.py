"""Loading and unloading in all worker processes: each does it, in the same order, before the request is answered.

The processes share a folder with one socket for each, and the names of models that were unloaded on request, which
a process that starts later must know. Joining and changing hold a lock on it, so that no process misses a change.
"""

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Literal, NamedTuple, Protocol, Self

import orjson

from goodcert.serve.core.errors import NotEverywhere, UnknownModel
from goodcert.serve.repository.repository import ModelRefused

log = logging.getLogger("goodcert.serve")

PATIENCE_SECONDS = 600.0
"""How long a process may take for a change; more than any loading."""

Verb = Literal["load", "unload"]


class Changes(Protocol):
    """Who changes which models are served: a repository, or all processes. Raises as `Repository` does."""

    async def load(self, name: str) -> None: ...
    async def unload(self, name: str) -> None: ...


class _Outcome(NamedTuple):
    """What became of a change in one process; reason: of a refusal, for people."""

    kind: Literal["done", "unknown", "refused", "failed"]
    reason: str = ""


class Cluster:
    """The processes that share a folder. unloaded: the names that were unloaded when this one joined."""

    def __init__(self, folder: Path, listener: socket.socket, unloaded: Collection[str]) -> None:
        self._folder = folder
        self._listener = listener
        self._patience_seconds = PATIENCE_SECONDS
        self._one_of_ours = asyncio.Lock()
        self.unloaded = frozenset(unloaded)

    @classmethod
    def join(cls, folder: Path) -> Self:
        """From now on changes wait for this process, too, which answers once it is `listening`."""
        listener = socket.socket(socket.AF_UNIX)
        with _locked(folder):
            listener.bind(str(folder / f"{token_hex(4)}.sock"))
            listener.listen()
            return cls(folder, listener, _read(folder))

    @asynccontextmanager
    async def listening(self, repository: Changes) -> AsyncIterator[None]:
        """While in here, `repository` follows what any process is asked."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, ValueError):  # whoever asked is gone
                outcome = await _outcome(repository, *orjson.loads(await reader.readline()))
                writer.write(orjson.dumps([*outcome]))
                writer.close()
                await writer.wait_closed()

        path = Path(self._listener.getsockname())
        server = await asyncio.start_unix_server(serve, sock=self._listener)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            server.close()

    async def load(self, name: str) -> None:
        """As `Repository.load`, in every process. Raises NotEverywhere, too."""
        await self._change("load", name)

    async def unload(self, name: str) -> None:
        """As `Repository.unload`, in every process. Raises NotEverywhere, too."""
        await self._change("unload", name)

    async def _change(self, verb: Verb, name: str) -> None:
        async with self._alone():
            asked = [self._ask(path, verb, name) for path in self._folder.glob("*.sock")]
            outcomes = {outcome.kind: outcome for outcome in await asyncio.gather(*asked) if outcome}
            if set(outcomes) == {"unknown"}:
                raise UnknownModel(name)
            _note(self._folder, verb, name)
        if "refused" in outcomes:
            raise ModelRefused(outcomes["refused"].reason)
        # Where a model is unknown, there is nothing to unload.
        if "done" not in outcomes or set(outcomes) - {"done"} - ({"unknown"} if verb == "unload" else set()):
            raise NotEverywhere

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """One of the changes of this process waits for those of the others, in a thread; loading needs threads."""
        async with self._one_of_ours:
            held = await asyncio.to_thread(_lock, self._folder)
            try:
                yield
            finally:
                os.close(held)

    async def _ask(self, path: Path, verb: Verb, name: str) -> _Outcome | None:
        """What the process at this socket answers; None where it is gone: its successor reads the folder."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                told = await _told(path, orjson.dumps([verb, name]) + b"\n")
        except TimeoutError:
            log.error("a process did not %s the model in time", verb)
            return _Outcome("failed")
        except OSError:
            path.unlink(missing_ok=True)
            return None
        return _Outcome(*orjson.loads(told)) if told else None


async def _told(path: Path, line: bytes) -> bytes:
    """All that is answered to a line."""
    reader, writer = await asyncio.open_unix_connection(path)
    with closing(writer):
        writer.write(line)
        return await reader.read()


async def _outcome(repository: Changes, verb: Verb, name: str) -> _Outcome:
    try:
        await (repository.load if verb == "load" else repository.unload)(name)
    except UnknownModel:
        return _Outcome("unknown")
    except ModelRefused as error:
        return _Outcome("refused", str(error))
    except Exception:  # whatever it is, whoever asked must not take it for done
        log.exception("the models could not be changed")
        return _Outcome("failed")
    return _Outcome("done")


def _read(folder: Path) -> list[str]:
    """The names that are unloaded on request."""
    path = folder / "unloaded.json"
    names: list[str] = orjson.loads(path.read_bytes()) if path.exists() else []
    return names


def _note(folder: Path, verb: Verb, name: str) -> None:
    names = {*_read(folder), name} if verb == "unload" else {*_read(folder)} - {name}
    (folder / "unloaded.json").write_bytes(orjson.dumps(sorted(names)))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    held = _lock(folder)
    try:
        yield
    finally:
        os.close(held)


def _lock(folder: Path) -> int:
    """Waits for the lock, which ends when the descriptor is closed, or its process ends."""
    held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    return held
