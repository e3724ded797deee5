"""The engine for CROWN: backward linear bounds, tighter than intervals on networks not trained with those."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball
from goodcert.bounds.chain import chain_of
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.bounds.crown import MAX_COST, Crown, cost
from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph
from goodcert.engine.threads import at_once

Parts = tuple[NDArray[np.float64], ...]
"""(upper bound (N,), lower bound (N,), margins (N, K, K))."""

Tighten = Callable[[Ball, Parts], Parts]
"""From balls and their bounds to bounds that are nowhere looser."""


class CrownEngine:
    """CROWN, intersected with the bounds that it is given: both hold, so the better of each margin does.

    Images are done each for itself, several at once (threads.py), so an image gets the same bits in any batch. On
    two threads one image took a third less where two cores were free, and five times as long where another program
    kept both busy. Thread-safe.
    """

    def __init__(self, graph: Graph, device: torch.device, threads: int | None = None) -> None:
        """graph: one whose activations are within the range of the proofs (admission.py). threads: as in
        `at_once`. Raises Unsupported, by node and operator, for a graph without linear bounds or too large for
        them."""
        chain = chain_of(graph.to(device))
        if cost(chain) > MAX_COST:
            raise Unsupported(f"an image could take {cost(chain):.1e} products, expected at most {MAX_COST:.1e}")
        self._crown, self._device = Crown(chain), device
        # Of PyTorch's threads each has one; threads that the process starts later begin with one, too.
        workers = at_once(device.type, threads)
        self._threads = ThreadPoolExecutor(workers, "crown", initializer=torch.set_num_threads, initargs=(1,))

    def __call__(self, ball: Ball, known: Parts) -> Parts:
        upper, lower, margins = (np.array(part) for part in known)
        for i, found in enumerate(self._threads.map(self._margins, ball.lower, ball.upper)):
            margins[i] = np.minimum(margins[i], found)
        upper = np.minimum(upper, confidence_upper_bound(margins))
        lower = np.maximum(lower, confidence_lower_bound(margins))
        return upper, lower, margins

    @torch.inference_mode()
    def _margins(self, lower: NDArray[np.float32], upper: NDArray[np.float32]) -> NDArray[np.float64]:
        """(K, K) of one box."""
        box = (torch.from_numpy(np.ascontiguousarray(end)).to(self._device) for end in (lower, upper))
        margins: NDArray[np.float64] = self._crown(*box).cpu().numpy()
        return margins
