"""A classifier as a bound module: the body bounded layer by layer, the last layer fused into differences."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from goodcert.bounds.confidence import (
    LogitDifferences,
    confidence_lower_bound,
    confidence_upper_bound,
)
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import Program, prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import FLOAT32, Rounding


class BoundModule(nn.Module):
    """From float32 boxes (N, C, H, W) to (confidence_upper_bound (N,), confidence_lower_bound (N,),
    margins (N, K, K)), all float64 and covering float32 rounding. Nothing in it depends on the batch, so it
    can be exported with torch.onnx and run elsewhere."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._body, weight, bias = split(graph)
        self._program = prepare(self._body, FLOAT32)
        self._differences = LogitDifferences(weight.double(), bias.double(), FLOAT32)

    def forward(self, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (x,) = self._program(Interval(lower, upper))
        margins = self._differences(Interval(x.lower.double(), x.upper.double()))
        return confidence_upper_bound(margins), confidence_lower_bound(margins), margins


def split(graph: Graph) -> tuple[Graph, Tensor, Tensor]:
    """The graph up to its last affine layer, and that layer's weight (K, F) and bias (K,).

    A graph that ends otherwise keeps all its nodes and gets the identity as its last layer.
    """
    graph = peel_softmax(graph)
    last = graph.nodes[-1] if graph.nodes else None
    if last and last.op in ("Gemm", "MatMul") and last.output == graph.outputs[0] and _is_dense(graph, last):
        weight = graph.constants[last.inputs[1]]
        weight = weight if last.attributes.get("transB", 0) else weight.T
        bias = graph.constants[last.inputs[2]] if len(last.inputs) > 2 else weight.new_zeros(weight.shape[0])
        body = replace(graph, outputs=(last.inputs[0],)).pruned()
        return body, weight, bias.reshape(-1).expand(weight.shape[0])
    classes = output_size(graph)
    return graph, torch.eye(classes), torch.zeros(classes)


def _is_dense(graph: Graph, node: Node) -> bool:
    """Whether it is a matrix of weights on the right."""
    weight = graph.constants.get(node.inputs[1])
    return weight is not None and weight.ndim == 2 and node.inputs[0] not in graph.constants


def peel_softmax(graph: Graph) -> Graph:
    """Without a final Softmax over the classes: the service computes its own, in float64."""
    last = graph.nodes[-1] if graph.nodes else None
    if last and last.op == "Softmax" and last.attributes.get("axis", -1) in (1, -1):
        return replace(graph, outputs=(last.inputs[0],)).pruned()
    return graph


def output_size(graph: Graph) -> int:
    """How many numbers the graph computes for one image."""
    shape = [size or 1 for size in graph.input_shape]
    device = next(iter(graph.constants.values())).device if graph.constants else None
    image = torch.zeros(shape, device=device)
    (x,) = prepare(graph, FLOAT32)(Interval(image, image))
    return x.lower[0].numel()


def training_margins(body: Program, weight: Tensor, bias: Tensor, box: Interval, rounding: Rounding) -> Tensor:
    """(N, K, K) the same bounds in the dtype of the weights, through which gradients flow."""
    (x,) = body(box)
    return LogitDifferences(weight, bias, rounding)(x)
