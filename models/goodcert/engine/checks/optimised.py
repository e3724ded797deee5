"""The graphs that ONNX Runtime really runs: what each optimisation level makes of a model, read back."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime

from goodcert.engine.errors import EngineError

LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""By the names that ONNX Runtime's documentation gives them."""


def session(model: bytes, level: str, saved: str | None = None) -> onnxruntime.InferenceSession:
    """The model as anybody deploys it at this level, on one thread. saved: where to write the optimised graph.

    Raises EngineError where ONNX Runtime does not load it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = LEVELS[level]
    if saved is not None:
        options.optimized_model_filepath = saved
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common public class
        raise EngineError(
            f"ONNX Runtime {onnxruntime.__version__} does not load the file at level {level!r}: {error}"
        ) from error


def optimised(model: bytes, level: str) -> onnx.ModelProto:
    """What ONNX Runtime runs at this level. Raises EngineError as `session` does."""
    with _file() as (descriptor, path):
        session(model, level, saved=path)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            return onnx.load_model_from_string(file.read())


@contextmanager
def _file() -> Iterator[tuple[int, str]]:
    """(descriptor, path) of a file in memory where there is such a thing: a service may have no folder to write
    in."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("optimised.onnx")
        try:
            yield descriptor, f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        path.touch()
        with path.open("rb") as file:
            yield file.fileno(), str(path)
