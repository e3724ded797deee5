"""Whether a graph keeps the assumptions under which its bounds are proven (rounding.py)."""

from collections.abc import Iterator, Mapping

import torch

from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import Program
from goodcert.bounds.interval import Interval, Nonnegative
from goodcert.bounds.norm import norm_statistics
from goodcert.bounds.rounding import MAX_MAGNITUDE, MAX_ROW_SUM
from goodcert.bounds.rules import RULES

Values = Mapping[str, Interval]
"""The boxes of every value of a graph, by name: what `Program.trace` returns."""


def within_range(graph: Graph, values: Values) -> bool:
    """Whether every activation stays so small that no float32 evaluation of it can overflow, and every row of
    weights sums to so little that underflow stays below its allowance."""
    return all(_bounded(x) for x in values.values()) and max(_row_sums(graph), default=0.0) <= MAX_ROW_SUM


def undefined(program: Program, values: Values) -> Node | None:
    """The first node that may have no value there (a logarithm below 0, a division by 0); None if all have."""
    for step in program.steps:
        finite = all(_bounded(values[name]) for name in step.inputs)
        if RULES[step.node.op].partial and finite and bool(values[step.output].lower.isnan().any()):
            return step.node
    return None


def _bounded(x: Interval) -> bool:
    return bool((x.magnitude <= MAX_MAGNITUDE).all())  # NaN compares false


def _row_sums(graph: Graph) -> Iterator[float]:
    """For each affine layer, the largest sum of |W| over what one of its outputs reads."""
    for node in graph.nodes:
        if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            weight = next((graph.constants[n] for n in node.inputs[:2] if n in graph.constants), None)
            if weight is None:
                continue  # both factors vary
            sums = weight.abs().sum(_read_together(node, weight.ndim, graph), dtype=torch.float64)
            yield float(sums.max()) * abs(node.attributes.get("alpha", 1.0))
        if node.op == "BatchNormalization":
            yield float(norm_statistics(node, [graph.constants[n] for n in node.inputs[1:]]).scale.abs().max())


def _read_together(node: Node, rank: int, graph: Graph) -> list[int]:
    """The axes of the weights over which one output sums, or more."""
    if node.op == "Conv":
        return list(range(1, rank))
    if node.op == "ConvTranspose":
        return [0, *range(2, rank)]
    by_row = bool(node.attributes.get("transB", 0)) or node.inputs[0] in graph.constants or rank == 1
    return [rank - 1 if by_row else rank - 2]


def pixel_cube(graph: Graph) -> Interval:
    """Every image that the graph takes: one box [0, 1]^d of shape (1, C, H, W)."""
    shape = [1, *(size or 1 for size in graph.input_shape[1:])]
    return Nonnegative(torch.zeros(shape), torch.ones(shape))
