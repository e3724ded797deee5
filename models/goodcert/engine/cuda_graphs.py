"""The margins on a GPU as CUDA graphs: one launch for a batch in place of one for every operator.

A graph is of one shape, so there is one for every number of rows that a padded batch can have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

_WARM_UP = 3
"""Runs before the capture, in which libraries choose their kernels."""


@dataclass(frozen=True)
class Captured:
    """A graph and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    lower: Tensor
    upper: Tensor
    margins: Tensor


class GraphedMargins:
    """A module of margins on `device` for boxes (N, *shape), N one of `rows`. Thread-safe."""

    @torch.inference_mode()
    def __init__(
        self, module: nn.Module, shape: tuple[int, ...], rows: Iterable[int], device: torch.device
    ) -> None:
        self._module = module  # a graph reads its weights where they lay, and does not keep them alive
        self._lock = Lock()  # the memory of a graph is that of one caller at a time
        pool = torch.cuda.graph_pool_handle()  # one for all, as no two ever run at once
        self._captured = {n: _capture(module, torch.zeros(n, *shape, device=device), pool) for n in rows}

    @torch.inference_mode()
    def __call__(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Margins (N, K, K) for boxes on any device."""
        captured = self._captured[len(lower)]
        with self._lock:
            captured.lower.copy_(lower)
            captured.upper.copy_(upper)
            captured.graph.replay()
            return captured.margins.clone()


def _capture(module: nn.Module, box: Tensor, pool: Any) -> Captured:
    lower, upper = box.clone(), box.clone()
    aside = torch.cuda.Stream(box.device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(box.device))
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            module(lower, upper)
    torch.cuda.current_stream(box.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool):
        margins = module(lower, upper)
    return Captured(graph, lower, upper, margins)
