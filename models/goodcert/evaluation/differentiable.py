"""The logits of a model file as a PyTorch function, through which gradients flow: what attacks climb on.

Only the served engine says what a point's confidence is; this finds the points."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.affine import Apply, convolution
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import Step, prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reductions import axes_of
from goodcert.bounds.rounding import EXACT

Function = Callable[..., Tensor]

_POINTWISE: Mapping[str, Function] = {"Add": torch.add, "Mul": torch.mul, "Relu": F.relu, "Sub": torch.sub}


def forward(graph: Graph) -> Callable[[Tensor], Tensor]:
    """From images (N, C, H, W) to logits (N, K), for any graph that can be bounded.

    The common layers are PyTorch's own; every other operator goes through its interval rule, on points, which
    takes three times as long.
    """
    program = prepare(graph, EXACT)
    functions = [(step, _layer(step.node, graph) or _by_rule(step)) for step in program.steps]
    fixed = {name: box.lower for name, box in program.fixed.items()}

    def logits(images: Tensor) -> Tensor:
        values = {program.input: images, **fixed}
        for step, function in functions:
            values[step.output] = function(*(values[name] for name in step.inputs))
        return values[program.outputs[0]]

    return logits


def _by_rule(step: Step) -> Function:
    return lambda *values: step.transform(*(Interval(x, x) for x in values)).centre


def _layer(node: Node, graph: Graph) -> Function | None:
    """The function of a common layer whose weights are constant; None for another operator."""
    if node.op in _POINTWISE:
        return _filled(_POINTWISE[node.op], node, graph)
    if node.op == "ReduceSumSquare":
        return _sum_square(node, graph)
    if node.op not in ("Conv", "Gemm") or not all(name in graph.constants for name in node.inputs[1:]):
        return None
    weight, *rest = (graph.constants[name] for name in node.inputs[1:])
    bias = rest[0] if rest else None
    if node.op == "Conv":
        return partial(_conv, convolution(node.attributes, weight.ndim - 2, faithful=False), weight, bias)
    return partial(_gemm, weight.T if node.attributes.get("transB", 0) else weight, bias)


def _conv(apply: Apply, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return apply(x, weight, bias)


def _filled(function: Function, node: Node, graph: Graph) -> Function:
    """The function of those inputs alone that are no constants."""
    known = [graph.constants.get(name) for name in node.inputs]

    def apply(*values: Tensor) -> Tensor:
        rest = iter(values)
        return function(*(next(rest) if value is None else value for value in known))

    return apply


def _sum_square(node: Node, graph: Graph) -> Function | None:
    """Of the distances to the centres of a mixture, which are a hundred times as many numbers as the image has."""
    axes = axes_of(node, tuple(graph.constants.get(name) for name in node.inputs))
    keep = bool(node.attributes.get("keepdims", 1))
    return None if axes is None else lambda x: x.square().sum(axes, keep)


def _gemm(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return x @ weight if bias is None else x @ weight + bias
