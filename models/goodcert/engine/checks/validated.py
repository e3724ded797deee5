"""Files that passed the translation validation, remembered for the processes of one service.

What a file means to this ONNX Runtime on this machine does not change while a service runs: a worker that replaces
another need not find it out again. The kernel check and the self-check are made by every process.
"""

import hashlib
from pathlib import Path

import onnxruntime


class Validated:
    """folder: private to the service, and gone with it; the bytes of a file are its name there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, model: bytes) -> bool:
        return self._mark(model).exists()

    def add(self, model: bytes) -> None:
        self._mark(model).touch()

    def _mark(self, model: bytes) -> Path:
        known = hashlib.sha256(model + onnxruntime.__version__.encode()).hexdigest()
        return self._folder / f"validated-{known}"
