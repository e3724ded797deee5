"""The process in which model files from strangers are examined: `python -m goodcert.engine.sandbox.child`.

Its arguments are the limits, in bytes and seconds. Asked on its standard input with a line of JSON,
{"model": length, "sidecar": length or null}, and so many bytes, it answers with a line of JSON,
{"sha256": of the model, "refused": reason or null}. Every file has a fork of its own.
"""

import gc
import hashlib
import json
import os
import resource
import select
import signal
import sys
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from goodcert.artifact import ArtifactError, parse
from goodcert.bounds.writer import write_graph
from goodcert.engine.admission import Classifier, admit, require_agreement
from goodcert.engine.errors import EngineError
from goodcert.engine.sandbox.parent import PATIENCE, SandboxLimits, plain
from goodcert.engine.sessions import session


def main() -> None:
    """Answer until there are no more questions."""
    limits = SandboxLimits(int(sys.argv[1]), int(sys.argv[2]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    gc.freeze()
    for line in sys.stdin.buffer:
        sizes = json.loads(line)
        model = sys.stdin.buffer.read(sizes["model"])
        sidecar = None if sizes["sidecar"] is None else sys.stdin.buffer.read(sizes["sidecar"])
        refused = examine(model, sidecar, limits)
        answers.write(json.dumps({"sha256": hashlib.sha256(model).hexdigest(), "refused": refused}) + "\n")
        answers.flush()


def examine(model: bytes, sidecar: bytes | None, limits: SandboxLimits) -> str | None:
    """Why the file is refused, found out in a fork; None where it is not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _judge(model, sidecar, limits, writing)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        said = _listen(pipe, limits.seconds * PATIENCE)
    os.kill(child, signal.SIGKILL)  # which reaches one that waits for something, and harms no dead one
    _, status = os.waitpid(child, 0)
    if said:
        verdict = json.loads(said)["refused"]
        return None if verdict is None else str(verdict)
    return _death(status, limits)


def _listen(pipe: IO[bytes], seconds: float) -> bytes:
    """The line that the fork says; nothing if it dies or takes too long."""
    ready, _, _ = select.select([pipe], [], [], seconds)
    return pipe.read(2**16) if ready else b""


def _death(status: int, limits: SandboxLimits) -> str:
    number = os.waitstatus_to_exitcode(status)
    if number in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"reading and bounding it took more than {limits.seconds} s of processor time"
    return f"it brought down the process that examined it ({number}), most likely for want of memory"


def _judge(model: bytes, sidecar: bytes | None, limits: SandboxLimits, pipe: int) -> NoReturn:
    """In the fork: limit oneself, look, say what was seen, and leave without a trace."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    restrict(limits)
    try:
        refused = reason(model, sidecar, limits)
    except BaseException as error:  # noqa: BLE001  whatever it is, it must not climb into the loop above
        refused = f"it could not be examined: {type(error).__name__}"
    os.write(pipe, json.dumps({"refused": None if refused is None else plain(refused)}).encode())
    os._exit(0)


def restrict(limits: SandboxLimits) -> None:
    """No more memory than this process has now and the limit, no more processor time, no files, no core."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        used = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + limits.memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def reason(model: bytes, sidecar: bytes | None, limits: SandboxLimits) -> str | None:
    """Why the file is refused; None where it can be bounded and runs."""
    try:
        artifact = parse(model, sidecar)
        classifier = admit(artifact.model)
        require_agreement(artifact.metadata, classifier.shape, classifier.classes, classifier.heads)
        _run(classifier)
    except (ArtifactError, EngineError) as error:
        return _without_allocators(str(error), limits)
    except (MemoryError, RecursionError) as error:
        return (
            f"it exhausted its memory or stack ({type(error).__name__}): expected at most {_mebibytes(limits)} MiB"
        )
    return None


def _run(classifier: Classifier) -> None:
    """The file as it is, and as it will be served where that differs: both will be run outside this process."""
    images = np.zeros((classifier.graph.input_shape[0] or 1, *classifier.shape), np.float32)
    file = classifier.file.SerializeToString()
    served = [(write_graph(classifier.graph).SerializeToString(), "all")] if classifier.folded else []
    for model, level in ((file, "none"), (file, "all"), *served):
        try:
            session(model, level).run(None, {classifier.graph.input: images})
        except EngineError:
            raise
        except Exception as error:  # its errors have no common public class
            raise EngineError(f"ONNX Runtime does not run it: {error}") from error


def _without_allocators(text: str, limits: SandboxLimits) -> str:
    """What an allocator says of a size that it does not have, in words."""
    for marker in ("[enforce fail", "Unable to allocate", "std::bad_alloc", "bad allocation"):
        before, found, _ = text.partition(marker)
        if found:
            return f"{before}takes more memory than the {_mebibytes(limits)} MiB that a file may"
    return text


def _mebibytes(limits: SandboxLimits) -> int:
    return limits.memory_bytes // 2**20


if __name__ == "__main__":
    main()
