"""The bound engine in PyTorch: eager on the CPU, where it is the reference, and as CUDA graphs on a GPU."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodcert.bounds.ball import Ball
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.graph import Graph
from goodcert.engine.cuda_graphs import GraphedMargins
from goodcert.engine.engine import CHUNK

ROWS = 16
"""PyTorch's CPU matrix products give a row the same bits in every batch only when the number of rows is a
multiple of this (batches of 1 to 3 and remainders take other paths)."""


class TorchEngine:
    """Margins for balls of any number of images; on a GPU up to `CHUNK`. Thread-safe."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self._device = device
        self._run = _runner(graph, device)

    def __call__(self, ball: Ball) -> NDArray[np.float64]:
        """Margins (N, K, K)."""
        return self.begin(ball)()

    @torch.inference_mode()
    def begin(self, ball: Ball) -> Callable[[], NDArray[np.float64]]:
        """What waits for the margins and gives them: a GPU computes them meanwhile."""
        count = len(ball.lower)
        lower, upper = (_pad(torch.from_numpy(np.ascontiguousarray(x)), -count % ROWS) for x in ball[1:])
        margins = self._run(lower.to(self._device), upper.to(self._device))[:count]
        return lambda: np.asarray(margins.cpu().numpy())


def _runner(graph: Graph, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    module = MarginModule(graph.to(device))
    if device.type != "cuda":
        return module
    shape = tuple(size or 1 for size in graph.input_shape[1:])
    return GraphedMargins(module, shape, range(ROWS, CHUNK + 1, ROWS), device)


def _pad(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x.new_zeros(rows, *x.shape[1:])]) if rows else x
