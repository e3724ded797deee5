"""Bounds on the outputs of any supported graph, for one box: no classifier, no batch."""

from typing import TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from goodcert.bounds.admission import undefined, within_range
from goodcert.bounds.errors import Unsupported
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import FLOAT32
from goodcert.bounds.validation import check_inference

Arrays: TypeAlias = list[NDArray[np.float32]]


def interval_outputs(
    model: onnx.ModelProto, lower: NDArray[np.float32], upper: NDArray[np.float32]
) -> tuple[Arrays, Arrays]:
    """(lower, upper): for every output of the graph, in its order, bounds over all inputs in the box.

    lower, upper: float32, of the shape of the graph's one input, lower <= upper. The bounds hold in exact
    arithmetic and for any IEEE float32 evaluation of the model as it is written; they are infinite where a
    value could overflow. Operators on constants alone are evaluated once, in float32. Raises `Unsupported`
    for a graph that cannot be bounded and ValueError for a box that is none.
    """
    _check_box(lower, upper)
    graph = read_graph(model, lower.shape, fold_weights=False)
    box = Interval(torch.from_numpy(lower.copy()), torch.from_numpy(upper.copy()))
    try:
        program = prepare(graph, FLOAT32)
        values = program.trace(box)
    except RuntimeError as error:
        raise Unsupported(str(error)) from error
    check_inference(model)
    outputs = [values[name] for name in graph.outputs]
    if node := undefined(program, values):
        raise Unsupported(f"node {node.name!r} ({node.op}): has no value for some inputs in the box")
    if not within_range(graph, values):
        return [np.full(x.lower.shape, -np.inf, np.float32) for x in outputs], [
            np.full(x.upper.shape, np.inf, np.float32) for x in outputs
        ]
    return [x.lower.numpy() for x in outputs], [x.upper.numpy() for x in outputs]


def _check_box(lower: NDArray[np.float32], upper: NDArray[np.float32]) -> None:
    if lower.dtype != np.float32 or upper.dtype != np.float32:  # rounding another dtype could shrink the box
        raise ValueError(f"got a box of {lower.dtype} and {upper.dtype}, expected float32")
    if lower.shape != upper.shape or not (lower <= upper).all():
        raise ValueError("expected lower and upper of one shape with lower <= upper everywhere, without NaN")
