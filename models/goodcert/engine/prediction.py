"""The prediction: an ONNX Runtime session on the CPU, of exactly the graph that is bounded."""

import numpy as np
import onnx
from numpy.typing import NDArray

from goodcert.engine.runtime import RowRunner


class Predictor:
    """Logits of a model, batch by batch. Thread-safe."""

    def __init__(self, model: onnx.ModelProto, threads: int | None, *, sums_branches: bool = False) -> None:
        self._run = RowRunner(model, threads, sums_branches=sums_branches)

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, H, W) float32 images to (N, K) float32 logits."""
        return np.asarray(self._run(images)[0], dtype=np.float32)


def confidence(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) the largest softmax probability, as 1 / sum exp(z - max z) in float64: never below 1/K; NaN where
    logits are not finite."""
    z = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinity - infinity
        return np.asarray(1 / np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1))
