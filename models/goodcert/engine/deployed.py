"""The file as others deploy it: its own bytes, run by ONNX Runtime at each of its optimisation levels.

Independent of the code that makes the bounds, except for whether the file ends in a Softmax.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from goodcert.bounds.classifier import peel_softmax
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import FLOAT32
from goodcert.engine.prediction import confidence
from goodcert.engine.sessions import LEVELS, session


class Deployment(NamedTuple):
    """What a deployment says at one point: its confidence, at an optimisation level. error: by how much, as
    a share, the file's own Softmax may have rounded it; 0 where the file gives logits."""

    level: str
    confidence: float
    error: float


def look(file: bytes, points: NDArray[np.float32]) -> Iterator[list[Deployment]]:
    """For each of `points` (N, C, H, W), what every level says. Raises EngineError, Unsupported and
    ONNX Runtime's errors."""
    softmax = _ends_in_softmax(file)
    sessions = {level: session(file, level) for level in LEVELS}
    for point in points:
        outputs = {level: _row(runtime, point) for level, runtime in sessions.items()}
        yield [Deployment(level, *(_largest(out) if softmax else _softmax(out))) for level, out in outputs.items()]


def _softmax(logits: NDArray[np.float32]) -> tuple[float, float]:
    return float(confidence(logits[None])[0]), 0.0


def _largest(probabilities: NDArray[np.float32]) -> tuple[float, float]:
    """A Softmax in float32 rounds K differences, exponentials (by 8 units at most), K terms of a sum, a quotient;
    rounding z - max z by a unit moves exp(z - max z) by |z - max z| exp(z - max z) <= 1/e units."""
    return float(probabilities.max()), (2 * len(probabilities) + 16) * FLOAT32.unit


def _ends_in_softmax(file: bytes) -> bool:
    graph = read_graph(onnx.load_model_from_string(file))
    return peel_softmax(graph).outputs != graph.outputs


def _row(runtime: onnxruntime.InferenceSession, point: NDArray[np.float32]) -> NDArray[np.float32]:
    """(K,) of the first row; a model of a fixed batch gets the point in all its rows."""
    (taken,) = runtime.get_inputs()
    rows = taken.shape[0] if isinstance(taken.shape[0], int) else 1
    (output,) = runtime.run(None, {taken.name: np.repeat(point[None], rows, axis=0)})
    return np.asarray(output[0], np.float32)
