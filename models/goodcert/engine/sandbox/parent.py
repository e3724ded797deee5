"""Model files from strangers are read first in a process that may die of it.

The process (child.py) is started with no secrets in its environment, imports what it needs once, and forks
for every file: the fork has limits on memory and on processor time, reads the bytes, makes the graph that would be
bounded, and bounds it. What it says comes back as JSON over a pipe, with the hash of the bytes it was about. The
caller then loads those very bytes, on which the same code has already ended well.
"""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from threading import Timer
from types import TracebackType
from typing import Self

from goodcert.engine.errors import EngineError

MOST_REASON = 400
"""Characters of a reason that are passed on."""

PATIENCE = 6
"""By the clock an examination may take so many times its processor time."""

_START_SECONDS = 120.0
"""To import PyTorch and ONNX Runtime on a busy machine."""


@dataclass(frozen=True)
class SandboxLimits:
    """What one file may take.

    memory_bytes: of address space beyond what importing PyTorch and ONNX Runtime takes (0.7 GiB, 0.25 GiB of it
    resident): what the larger networks of the paper need. Linux alone enforces it. seconds: of processor time, so
    that a busy machine refuses no good model.
    """

    memory_bytes: int = 2**30
    seconds: int = 10


class Sandbox:
    """Examines files, one at a time; the process starts with the first and ends with the `with` block."""

    def __init__(self, limits: SandboxLimits = SandboxLimits()) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._end(self._process)

    @property
    def pid(self) -> int:
        """Of the process, which is started if need be."""
        return self._running().pid

    def examine(self, model: bytes, sidecar: bytes | None = None) -> None:
        """Raises EngineError with the reason, unless the file can be read, understood and bounded.

        model: the bytes of an ONNX file. sidecar: those of the TOML file beside it, if there is one.
        """
        answer = self._ask(model, sidecar)
        if answer.get("sha256") != hashlib.sha256(model).hexdigest():
            raise EngineError("the examination answered about another file; load the model again")
        if answer.get("refused") is not None:
            raise EngineError(plain(str(answer["refused"])))

    def _ask(self, model: bytes, sidecar: bytes | None) -> dict[str, object]:
        process = self._running()
        head = {"model": len(model), "sidecar": None if sidecar is None else len(sidecar)}
        watch = Timer(_START_SECONDS + (PATIENCE + 1) * self._limits.seconds, process.kill)
        watch.start()
        try:
            assert process.stdin is not None  # noqa: S101  both pipes were asked for
            assert process.stdout is not None  # noqa: S101
            process.stdin.write(json.dumps(head).encode() + b"\n" + model + (sidecar or b""))
            process.stdin.flush()
            answer = json.loads(process.stdout.readline(2**16))
        except (OSError, ValueError) as error:  # it is gone, or what it says makes no sense
            self._end(process)
            raise EngineError("the process that examines models failed; load the model again") from error
        finally:
            watch.cancel()
        return answer if isinstance(answer, dict) else {}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603  our own module, our own numbers
                [sys.executable, "-P", "-m", "goodcert.engine.sandbox.child", *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is for the service alone
            )
        return self._process

    def _arguments(self) -> list[str]:
        return [str(self._limits.memory_bytes), str(self._limits.seconds)]

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        process.kill()
        process.communicate()


def plain(reason: str) -> str:
    """A reason in which names out of a file can neither fill a log nor forge a line of it."""
    cut = reason if len(reason) <= MOST_REASON else reason[:MOST_REASON] + "..."
    return "".join(character if character.isprintable() else "?" for character in cut)


def _environment() -> dict[str, str]:
    """Without the service's keys; one thread, as limits on memory count what threads reserve."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GOODCERT_")}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
