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

ROWS = 16
"""PyTorch's CPU matrix products give a row the same bits in every batch only when the number of rows is a
multiple of this (batches of 1 to 3 and remainders take other paths)."""

CHUNK = 64
"""Rows that are bounded at once; more images are done in turn, so that memory is bounded too."""


class EagerMargins:
    """Margins for balls of any number of images, in chunks. Thread-safe."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self._device = device
        self._run = _runner(graph, device)

    @torch.inference_mode()
    def __call__(self, ball: Ball) -> NDArray[np.float64]:
        """Margins (N, K, K)."""
        lower, upper = (torch.split(torch.from_numpy(np.ascontiguousarray(x)), CHUNK) for x in ball[1:])
        parts = [self._chunk(low, high) for low, high in zip(lower, upper, strict=True)]
        return np.asarray(torch.cat(parts).numpy())

    def _chunk(self, lower: Tensor, upper: Tensor) -> Tensor:
        count = len(lower)
        rows = -count % ROWS
        low, high = (_pad(x, rows).to(self._device) for x in (lower, upper))
        margins: Tensor = self._run(low, high)[:count].cpu()
        return margins


def _runner(graph: Graph, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    module = MarginModule(graph.to(device))
    if device.type != "cuda":
        return module
    shape = tuple(size or 1 for size in graph.input_shape[1:])
    with torch.inference_mode():
        return GraphedMargins(module, shape, range(ROWS, CHUNK + 1, ROWS), device)


def _pad(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x.new_zeros(rows, *x.shape[1:])]) if rows else x
