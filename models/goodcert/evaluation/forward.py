"""The logits of a model file as a PyTorch function, through which gradients flow: what attacks climb on.

Only the served engine says what a point's confidence is; this finds the points."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.affine import Apply, convolution
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import Step, prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT

Function = Callable[..., Tensor]


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
    """The function of a layer whose weights are constant; None for another operator."""
    if node.op == "Relu":
        return F.relu
    if node.op not in ("Conv", "Gemm") or not all(name in graph.constants for name in node.inputs[1:]):
        return None
    weight, *rest = (graph.constants[name] for name in node.inputs[1:])
    bias = rest[0] if rest else None
    if node.op == "Conv":
        return partial(_conv, convolution(node.attributes, weight.ndim - 2), weight, bias)
    return partial(_gemm, weight.T if node.attributes.get("transB", 0) else weight, bias)


def _conv(apply: Apply, weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return apply(x, weight, bias)


def _gemm(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    return x @ weight if bias is None else x @ weight + bias
