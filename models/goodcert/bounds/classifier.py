"""A classifier as a module of margins: the body bounded layer by layer, the last layer fused into differences. Of
a joint model the discriminator alone is bounded (joint.py)."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from goodcert.bounds.confidence import LogitDifferences
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import Program, prepare
from goodcert.bounds.interval import Interval, Nonnegative
from goodcert.bounds.joint import JointDifferences, head
from goodcert.bounds.rounding import FLOAT32, Rounding


class MarginModule(nn.Module):
    """From boxes (N, C, H, W), in `dtype`, of pixels, none below 0, to guaranteed margins (N, K, K), float64,
    covering `rounding`. Nothing in it depends on the batch, so it can be exported and run elsewhere."""

    def __init__(self, graph: Graph, rounding: Rounding = FLOAT32, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        joint = head(graph)
        if joint is not None:
            self._program = prepare(joint.discriminator.in_dtype(dtype), rounding)
            self._differences: Callable[[Interval], Tensor] = JointDifferences(joint, rounding, dtype)
            return
        body, weight, bias = split(graph)
        self._program = prepare(body.in_dtype(dtype), rounding)
        size, roundings = _margin(graph)
        self._differences = LogitDifferences(weight.double(), bias.double(), rounding, size, roundings)

    def forward(self, lower: Tensor, upper: Tensor) -> Tensor:
        (x,) = self._program(Nonnegative(lower, upper))
        return self._differences(type(x)(x.lower.double(), x.upper.double()))


def split(graph: Graph) -> tuple[Graph, Tensor, Tensor]:
    """The graph up to its last affine layer, and that layer's weight (K, F) and bias (K,).

    A graph that ends otherwise keeps all its nodes and gets the identity as its last layer.
    """
    graph = peel_softmax(graph)
    last = graph.nodes[-1] if graph.nodes else None
    if last is None or not _is_dense(graph, last):
        classes, device = output_size(graph), graph.device
        return graph, torch.eye(classes, device=device), torch.zeros(classes, device=device)
    weight = graph.constants[last.inputs[1]]
    weight = weight if last.attributes.get("transB", 0) else weight.T
    named = len(last.inputs) > 2 and last.inputs[2]
    bias = graph.constants[last.inputs[2]].reshape(-1) if named else weight.new_zeros(1)
    body = replace(graph, outputs=(last.inputs[0],)).pruned()
    return body, weight, bias.expand(weight.shape[0])


def _margin(graph: Graph) -> tuple[Tensor | None, int]:
    """`size` and `roundings` of the last layer that `split` gives."""
    graph = peel_softmax(graph)
    last = graph.nodes[-1] if graph.nodes else None
    if last is None or not _is_dense(graph, last):
        return None, 0
    return None if last.size is None else last.size.to(graph.device), last.roundings


def _is_dense(graph: Graph, node: Node) -> bool:
    """Whether it is a dense layer: a matrix of weights on the right, and one bias for all rows."""
    if node.op not in ("Gemm", "MatMul") or node.attributes.keys() - {"transB"}:
        return False
    weight, bias = (graph.constants.get(name) for name in (*node.inputs[1:], "")[:2])
    return weight is not None and weight.ndim == 2 and (bias is None or bias.numel() == bias.shape[-1:].numel())


def peel_softmax(graph: Graph) -> Graph:
    """Without a final Softmax over the classes: the service computes its own, in float64."""
    last = graph.nodes[-1] if graph.nodes else None
    if last and graph.outputs == (last.output,) and _is_softmax_over_classes(last):
        return replace(graph, outputs=(last.inputs[0],)).pruned()
    return graph


def _is_softmax_over_classes(node: Node) -> bool:
    return node.op == "Softmax" and node.attributes.get("axis", -1) in (1, -1)


def output_size(graph: Graph) -> int:
    """How many numbers the graph computes for one image."""
    image = torch.zeros([1, *(size or 1 for size in graph.input_shape[1:])], device=graph.device)
    (x,) = prepare(graph, FLOAT32)(Interval(image, image))
    return x.lower[0].numel()


def training_margins(body: Program, weight: Tensor, bias: Tensor, box: Interval, rounding: Rounding) -> Tensor:
    """(N, K, K) the same bounds in the dtype of the weights, through which gradients flow. Under autocast the
    last layer keeps that dtype: small differences are what training is about."""
    (x,) = body(box)
    with torch.autocast(weight.device.type, enabled=False):
        x = type(x)(x.lower.to(weight.dtype), x.upper.to(weight.dtype))
        return LogitDifferences(weight, bias, rounding)(x)
