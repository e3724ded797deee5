"""The bound engine of the CPU: the bound module itself as an ONNX graph, run by ONNX Runtime.

It is two to seven times faster than eager PyTorch at small batches, releases the interpreter lock, and gives
a row the same bits in every batch without padding.
"""

import io
import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball
from goodcert.bounds.classifier import BoundModule
from goodcert.bounds.graph import Graph
from goodcert.engine.runtime import session

CHUNK = 64
"""Rows that are bounded at once; more images are done in turn, so that memory is bounded too."""


class OnnxBounds:
    """Bounds for balls of any number of images, in chunks. Thread-safe."""

    def __init__(self, graph: Graph, threads: int | None) -> None:
        self._session = session(export(graph), threads)

    def __call__(self, ball: Ball) -> tuple[NDArray[np.float64], ...]:
        """(confidence_upper_bound (N,), confidence_lower_bound (N,), margins (N, K, K))."""
        parts = [self._chunk(ball, start) for start in range(0, len(ball.point), CHUNK)]
        return parts[0] if len(parts) == 1 else tuple(map(np.concatenate, zip(*parts, strict=True)))

    def _chunk(self, ball: Ball, start: int) -> tuple[NDArray[np.float64], ...]:
        rows = slice(start, start + CHUNK)
        return tuple(self._session.run(None, {"lower": ball.lower[rows], "upper": ball.upper[rows]}))


def export(graph: Graph) -> bytes:
    """The bound module of `graph` as a serialized ONNX model with a free batch axis."""
    shape = [2, *(size or 1 for size in graph.input_shape[1:])]
    box = torch.zeros(shape), torch.ones(shape)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is the older one, and twenty times faster: it runs at every start.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            BoundModule(graph).eval(),
            box,
            file,  # type: ignore[arg-type]  # this exporter also writes to open files
            dynamo=False,
            opset_version=17,
            input_names=["lower", "upper"],
            output_names=["upper_bound", "lower_bound", "margins"],
            dynamic_axes={"lower": {0: "N"}, "upper": {0: "N"}},
        )
    return file.getvalue()
