"""Between which limits the bounds of every honest evaluation lie: what a stated bound is held against.

*From below.* The box of every layer contains, by the theorem of rounding.py, the one of real arithmetic. What its
radius holds for the rounding of the deployed model, gamma (|W||mu| + |W| r + |b|) at least, is left even if all
that it holds for its own rounding is used up. Real arithmetic is evaluated in float64, whose errors are far below
that (2^-53 against 2^-24). So no sound interval bound is below `lowest`: one that is was not computed by this
method, or for another model, image or epsilon.

*From above.* An evaluation of the bound for the unit u has a radius of at most (c + 2) gamma (...) beyond real
arithmetic: its margin and its own rounding. One for 4u has at least (4c - 2) gamma (...), and c >= 2, so that no
evaluation for u, in whatever order, is above `highest`.

Linear bounds (crown) choose their slopes by comparisons, which rounding may turn; a limit of theirs is therefore
widened to what the engine at hand computes (`Limits.around`). In practice they agree to the last digits.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball
from goodcert.bounds.chain import chain_of
from goodcert.bounds.classifier import MarginModule, peel_softmax
from goodcert.bounds.crown import Crown
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT, FLOAT32, Rounding
from goodcert.engine.certificates import Certificates

FOURFOLD = Rounding(4 * FLOAT32.unit, 4 * FLOAT32.tiny)

Margins = NDArray[np.float64]


class Pair(NamedTuple):
    """Margins (N, K, K): no honest ones are below `lowest` or above `highest`, anywhere."""

    lowest: Margins
    highest: Margins


class BoundLimits:
    """For one classifier, on the CPU. Raises Unsupported for a model that cannot be bounded."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = peel_softmax(read_graph(model))
        self._exact = MarginModule(self._graph, EXACT, torch.float64)
        self._fourfold = MarginModule(self._graph, FOURFOLD)

    def around(self, certificates: Certificates, ball: Ball) -> Pair:
        """The limits for balls (N, C, H, W), for which the engine at hand gave `certificates` by one method."""
        lowest, highest = _run(self._exact, ball, torch.float64), _run(self._fourfold, ball, torch.float32)
        if certificates.method[0] == "crown":
            lowest = np.minimum(lowest, self._linear(ball, EXACT))
            highest = np.minimum(highest, self._linear(ball, FOURFOLD))
        return Pair(np.minimum(lowest, certificates.margins), np.maximum(highest, certificates.margins))

    @torch.inference_mode()
    def _linear(self, ball: Ball, rounding: Rounding) -> Margins:
        crown = Crown(chain_of(self._graph), rounding)
        boxes = zip(torch.from_numpy(ball.lower), torch.from_numpy(ball.upper), strict=True)
        return np.stack([crown(*box).numpy() for box in boxes])


@torch.inference_mode()
def _run(module: Callable[..., torch.Tensor], ball: Ball, dtype: torch.dtype) -> Margins:
    return module(*(torch.from_numpy(end).to(dtype) for end in ball[1:])).numpy()
