"""Whether a graph keeps the assumptions under which its bounds are proven (rounding.py)."""

import torch
from torch import Tensor

from goodcert.bounds.graph import Graph
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import FLOAT32, MAX_MAGNITUDE, MAX_ROW_SUM


def within_range(graph: Graph, box: Interval) -> bool:
    """Whether every activation on `box` stays so small that no float32 evaluation of it can overflow, and
    every row of weights sums to so little that underflow stays below its allowance."""
    values = prepare(graph, FLOAT32).trace(box).values()
    return all(_bounded(x) for x in values) and all(row_sum(graph, n) <= MAX_ROW_SUM for n in graph.constants)


def _bounded(x: Interval) -> bool:
    return bool((x.magnitude <= MAX_MAGNITUDE).all())  # NaN compares false


def row_sum(graph: Graph, name: str) -> float:
    """The largest sum of |W| over what one output of an affine layer reads; 0 for other constants."""
    return max((_row_sum(node.op, dict(node.attributes), graph.constants[name])
                for node in graph.nodes if len(node.inputs) > 1 and node.inputs[1] == name), default=0.0)  # fmt: skip


def _row_sum(op: str, attributes: dict[str, object], weight: Tensor) -> float:
    if op == "Conv":
        return float(weight.double().abs().flatten(1).sum(dim=1).max())
    if op in ("Gemm", "MatMul"):
        by_row = op == "Gemm" and bool(attributes.get("transB", 0))
        return float(weight.double().abs().sum(dim=1 if by_row else 0).max())
    return 0.0


def pixel_cube(shape: tuple[int, ...]) -> Interval:
    """Every image there is: one box [0, 1]^d of shape (1, *shape)."""
    return Interval(torch.zeros(1, *shape), torch.ones(1, *shape))
