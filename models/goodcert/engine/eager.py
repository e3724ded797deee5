"""The bound engine in eager PyTorch: the reference, on CPU and CUDA."""

import torch
from torch import Tensor

from goodcert.bounds.ball import Ball
from goodcert.bounds.classifier import BoundModule
from goodcert.bounds.graph import Graph

ROWS = 16
"""PyTorch's CPU matrix products give a row the same bits in every batch only when the number of rows is a
multiple of this (batches of 1 to 3 and remainders take other paths)."""

CHUNK = 64
"""Rows that are bounded at once: what one activation of the paper's networks needs stays small."""


class EagerBounds:
    """Bounds for balls of any number of images, in chunks."""

    def __init__(self, graph: Graph, device: torch.device) -> None:
        self._device = device
        self._module = BoundModule(graph.to(device))

    @torch.inference_mode()
    def __call__(self, ball: Ball) -> tuple[Tensor, Tensor, Tensor]:
        """(confidence_upper_bound (N,), confidence_lower_bound (N,), margins (N, K, K)), float64, on CPU."""
        lower, upper = torch.from_numpy(ball.lower), torch.from_numpy(ball.upper)
        parts = [
            self._chunk(low, high) for low, high in zip(lower.split(CHUNK), upper.split(CHUNK), strict=True)
        ]
        upper_bounds, lower_bounds, margins = (torch.cat(part) for part in zip(*parts, strict=True))
        return upper_bounds, lower_bounds, margins

    def _chunk(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, ...]:
        count = len(lower)
        rows = -count % ROWS
        low, high = (_pad(x, rows).to(self._device) for x in (lower, upper))
        return tuple(x[:count].cpu() for x in self._module(low, high))


def _pad(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x.new_zeros(rows, *x.shape[1:])]) if rows else x
