"""What the processes of one service tell each other of a model file, so that a worker that replaces another starts
sooner (docs/startup.md).

That the file passed the translation validation, and the graph that bounds it, do not change while a service runs.
The kernel check and the self-check are made by every process.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import onnxruntime

MOST_BYTES = 32 * 2**20
"""Of a graph that is kept: the folder may be in memory."""


class Remembered:
    """Of one file. folder: private to the service, and gone with it."""

    def __init__(self, folder: Path, file: bytes) -> None:
        known = hashlib.sha256(file + onnxruntime.__version__.encode()).hexdigest()
        self._path = folder / f"model-{known}"

    @property
    def validated(self) -> bool:
        return self._path.with_suffix(".validated").exists()

    def set_validated(self) -> None:
        self._path.with_suffix(".validated").touch()

    def bound_graph(self, make: Callable[[], bytes]) -> bytes:
        """What `make` gave the first process that asked."""
        path = self._path.with_suffix(".bound.onnx")
        if path.exists():
            return path.read_bytes()
        made = make()
        if len(made) <= MOST_BYTES:
            written = path.with_suffix(f".{os.getpid()}")
            with contextlib.suppress(OSError):  # a full disk is no reason not to serve
                written.write_bytes(made)
                written.replace(path)
        return made
