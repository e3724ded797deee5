"""Backward linear bounds beside interval bounds: tighter on networks that were not trained with the latter."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball
from goodcert.bounds.chain import chain_of
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.bounds.crown import MAX_COST, Crown, cost
from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph

Parts = tuple[NDArray[np.float64], ...]
"""(upper bound (N,), lower bound (N,), margins (N, K, K))."""

Tighten = Callable[[Ball, Parts], Parts]
"""From balls and their bounds to bounds that are nowhere looser."""


class Tighter:
    """CROWN, intersected with the bounds that it is given: both hold, so the better of each margin does.

    Images are done one at a time, so an image gets the same bits in any batch. Thread-safe.
    """

    def __init__(self, graph: Graph, device: torch.device) -> None:
        """graph: one whose activations are within the range of the proofs (admission.py). Raises Unsupported, by
        node and operator, for a graph without linear bounds or too large for them."""
        chain = chain_of(graph.to(device))
        if cost(chain) > MAX_COST:
            raise Unsupported(f"an image could take {cost(chain):.1e} products, expected at most {MAX_COST:.1e}")
        self._crown, self._device = Crown(chain), device

    @torch.inference_mode()
    def __call__(self, ball: Ball, known: Parts) -> Parts:
        upper, lower, margins = (np.array(part) for part in known)
        for i, (low, high) in enumerate(zip(ball.lower, ball.upper, strict=True)):
            box = (torch.from_numpy(np.ascontiguousarray(end)).to(self._device) for end in (low, high))
            margins[i] = np.minimum(margins[i], self._crown(*box).cpu().numpy())
        upper = np.minimum(upper, confidence_upper_bound(margins))
        lower = np.maximum(lower, confidence_lower_bound(margins))
        return upper, lower, margins
