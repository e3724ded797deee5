"""The bound engine in eager PyTorch: the reference, and what runs on CUDA."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodcert.bounds.ball import Ball
from goodcert.bounds.classifier import BoundModule
from goodcert.bounds.graph import Graph

ROWS = 16
"""PyTorch's CPU matrix products give a row the same bits in every batch only when the number of rows is a
multiple of this (batches of 1 to 3 and remainders take other paths)."""

CHUNK = 64
"""Rows that are bounded at once; more images are done in turn, so that memory is bounded too."""


class EagerBounds:
    """Bounds for balls of any number of images, in chunks. Thread-safe."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self._device = device
        self._module = BoundModule(graph.to(device))

    @torch.inference_mode()
    def __call__(self, ball: Ball) -> tuple[NDArray[np.float64], ...]:
        """(confidence_upper_bound (N,), confidence_lower_bound (N,), margins (N, K, K))."""
        lower, upper = (torch.split(torch.from_numpy(np.ascontiguousarray(x)), CHUNK) for x in ball[1:])
        parts = [self._chunk(low, high) for low, high in zip(lower, upper, strict=True)]
        return tuple(torch.cat(part).numpy() for part in zip(*parts, strict=True))

    def _chunk(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
        count = len(lower)
        rows = -count % ROWS
        low, high = (_pad(x, rows).to(self._device) for x in (lower, upper))
        return tuple(x[:count].cpu() for x in self._module(low, high))


def _pad(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x.new_zeros(rows, *x.shape[1:])]) if rows else x
