"""Bounds on the outputs of any supported graph, for one box: no classifier, no batch."""

from typing import TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from goodcert.bounds.admission import within_range
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import FLOAT32

Arrays: TypeAlias = list[NDArray[np.float32]]


def interval_outputs(
    model: onnx.ModelProto, lower: NDArray[np.float32], upper: NDArray[np.float32]
) -> tuple[Arrays, Arrays]:
    """(lower, upper): for every output of the graph, in its order, bounds over all inputs in the box.

    lower, upper: float32, of the shape of the graph's one input, lower <= upper. The bounds hold in exact
    arithmetic and for any IEEE float32 evaluation; they are infinite where a value could overflow. Raises
    `Unsupported` for a graph that cannot be bounded and ValueError for a box that is none.
    """
    if lower.shape != upper.shape or not (lower <= upper).all():
        raise ValueError("expected lower and upper of one shape with lower <= upper everywhere, without NaN")
    graph = read_graph(model, lower.shape, rewrite=False)
    box = Interval(torch.from_numpy(lower.astype(np.float32)), torch.from_numpy(upper.astype(np.float32)))
    outputs = prepare(graph, FLOAT32)(box)
    if not within_range(graph, box):
        return [np.full(x.lower.shape, -np.inf, np.float32) for x in outputs], [
            np.full(x.upper.shape, np.inf, np.float32) for x in outputs
        ]
    return [x.lower.numpy() for x in outputs], [x.upper.numpy() for x in outputs]
