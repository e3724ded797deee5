"""Sessions of ONNX Runtime on the CPU, and the graphs that they really run, read back."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnxruntime

from goodcert.engine.errors import EngineError

LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""By the names that ONNX Runtime's documentation gives them."""


def session(model: bytes, level: str = "all") -> onnxruntime.InferenceSession:
    """The model as anybody deploys it at this level, on one thread.

    Raises EngineError where ONNX Runtime does not load it.
    """
    return _made(model, _options(level), ())


def optimised(model: bytes, level: str = "all") -> onnx.ModelProto:
    """What ONNX Runtime runs at this level. Raises EngineError as `session` does."""
    return session_and_graph(model, level)[1]


def session_and_graph(
    model: bytes, level: str = "all", disabled: Sequence[str] = ()
) -> tuple[onnxruntime.InferenceSession, onnx.ModelProto]:
    """A session and what it runs. disabled: optimisers that are left out."""
    options = _options(level)
    with _file() as (descriptor, path):
        options.optimized_model_filepath = path
        runtime = _made(model, options, disabled)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(0)
            return runtime, onnx.load_model_from_string(file.read())


def _options(level: str) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = LEVELS[level]
    return options


def _made(
    model: bytes, options: onnxruntime.SessionOptions, disabled: Sequence[str]
) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled)
        )
    except Exception as error:  # its errors have no common public class
        raise EngineError(f"ONNX Runtime {onnxruntime.__version__} does not load the model: {error}") from error


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
