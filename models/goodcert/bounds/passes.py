"""From the graph as written to the graph that runs: constants and batch norms folded, no-ops dropped.

Each pass takes a graph and returns one. The result is what both ONNX Runtime and the bound engine are given. What
a fold rounds anew is counted in the nodes, so that the bounds enclose what the file says as it was written, too.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import ceil, inf

import torch
from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.fusion import LAYERS, count_fusions, fold_batch_norm, merge_bias, scale_gemm
from goodcert.bounds.graph import Graph, Node


def normalise(graph: Graph, *, fold_weights: bool) -> Graph:
    """All passes, in order. Without `fold_weights` those are left out that round weights anew: the graph
    then computes what the file says, layer by layer."""
    for apply in (fold_constants, drop_no_ops, plain_padding):
        graph = apply(graph)
    for apply in (scale_gemm, merge_bias, fold_batch_norm) if fold_weights else ():
        graph = apply(graph)
    return count_fusions(graph.pruned())


def fixed_reshapes(graph: Graph, shapes: Mapping[str, tuple[int | None, ...]]) -> Graph:
    """A Reshape whose target is computed from the size of the batch gets the shape that was inferred for it,
    with -1 for the one free axis."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        sizes = shapes.get(node.output, (None, None))
        if node.op == "Reshape" and node.inputs[1] not in constants and sizes.count(None) <= 1 and 0 not in sizes:
            name = graph.fresh(f"{node.output}/shape")
            constants[name] = torch.tensor([-1 if size is None else size for size in sizes])
            node = replace(node, inputs=(node.inputs[0], name))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


# --- constants ----------------------------------------------------------------------------------------


def fold_constants(graph: Graph) -> Graph:
    """Evaluate float arithmetic all of whose operands are constants, one correctly rounded operation each, as any
    runtime does, and what moves its results. Everything else was computed before (folding.py).

    What float32 makes of it is what the file's weights are; how far that is from real arithmetic is measured, in
    units in the last place, and counted in the nodes that read it. Where such a node cannot count, or where the
    difference is not relative, the arithmetic stays a node, and is bounded like any other.
    """
    constants, exact, nodes = dict(graph.constants), dict[str, Tensor](), []
    for node in graph.nodes:
        evaluate = _ARITHMETIC.get(node.op)
        if evaluate is None or any(name not in constants for name in node.inputs):
            nodes.append(_counted(node, constants, exact))
            continue
        real = _evaluated(node, evaluate, [exact.get(name, constants[name]) for name in node.inputs], real=True)
        value = _evaluated(node, evaluate, [constants[name] for name in node.inputs])
        if not bool(torch.isfinite(value).all()):
            raise Unsupported(f"node {node.name!r} ({node.op}): makes NaN or infinity of constants")
        if _units(value, real) <= (MOST_UNITS if _can_count(graph, node.output) else 0):
            constants[node.output], exact[node.output] = value, real
        else:
            nodes.append(_counted(node, constants, exact))
    return replace(graph, nodes=tuple(nodes), constants=constants)


MOST_UNITS = 2**10
"""By how many units a computed constant may differ from real arithmetic."""

_COUNTING = frozenset({*LAYERS, "Add", "Div", "Mul", "Sub"})


def _can_count(graph: Graph, name: str) -> bool:
    """Whether all that reads a constant counts roundings, directly or behind more arithmetic of constants."""
    readers = [node for node in graph.nodes if name in node.inputs]
    moves = ("Identity", "Neg", "Transpose")
    return all(n.op in _COUNTING or (n.op in moves and _can_count(graph, n.output)) for n in readers)


def _evaluated(
    node: Node, evaluate: Callable[..., Tensor], operands: list[Tensor], *, real: bool = False
) -> Tensor:
    try:
        return evaluate(node, *(x.double() if real and x.is_floating_point() else x for x in operands))
    except RuntimeError as error:
        raise Unsupported(f"node {node.name!r} ({node.op}): cannot be computed: {error}") from error


def _units(value: Tensor, real: Tensor) -> float:
    """The largest difference in units u |value|; infinite where it is not relative."""
    if not value.is_floating_point():
        return 0.0
    off = (real - value.double()).abs()
    relative = (value.abs() >= 2.0**-126) | (off == 0)
    if not bool(relative.all()):
        return inf
    return float((off / value.double().abs().clamp(min=2.0**-126)).max()) * 2.0**24 if value.numel() else 0.0


def _counted(node: Node, constants: Mapping[str, Tensor], exact: Mapping[str, Tensor]) -> Node:
    """Twice: for the deployed sum, and for the weight that our radius is made of."""
    units = sum(ceil(_units(constants[name], exact[name])) for name in node.inputs if name in exact)
    return replace(node, roundings=node.roundings + 2 * units) if units else node


_ARITHMETIC: Mapping[str, Callable[..., Tensor]] = {
    "Identity": lambda _, x: x,
    "Transpose": lambda node, x: x.permute(node.attributes.get("perm", [*reversed(range(x.ndim))])),
    "Neg": lambda _, x: -x,
    "Add": lambda _, x, y: x + y,
    "Sub": lambda _, x, y: x - y,
    "Mul": lambda _, x, y: x * y,
    "Div": lambda _, x, y: x / y,
}


# --- what does nothing in inference -------------------------------------------------------------------


_FLOAT = 1  # in ONNX's numbering of types


def drop_no_ops(graph: Graph) -> Graph:
    while node := next((node for node in graph.nodes if _does_nothing(graph, node)), None):
        graph = graph.without(node).rewire(node.output, node.inputs[0])
    return graph


def _does_nothing(graph: Graph, node: Node) -> bool:
    if node.op == "Dropout":
        return _inference(graph, node)
    return node.op == "Identity" or _to_float32(graph, node)


def _to_float32(graph: Graph, node: Node) -> bool:
    """A cast to what every value that varies is already."""
    if node.op == "CastLike":
        like = graph.constants.get(node.inputs[1])
        return like is None or like.dtype == torch.float32
    return node.op == "Cast" and node.attributes.get("to") == _FLOAT


def _inference(graph: Graph, node: Node) -> bool:
    training = node.inputs[2] if len(node.inputs) > 2 else ""
    if not training or (training in graph.constants and not graph.constants[training].any()):
        return True
    raise Unsupported(f"node {node.name!r} (Dropout): in training mode, expected inference")


def plain_padding(graph: Graph) -> Graph:
    """auto_pad spelled out where that does not need the sizes of the images. Dilations of pools are dropped where
    they are 1: older opsets do not know them."""

    def plain(node: Node) -> Node:
        rest = dict(node.attributes)
        if rest.get("auto_pad", "NOTSET") not in _PADDINGS:
            raise Unsupported(f"node {node.name!r} ({node.op}): auto_pad, expected one of {', '.join(_PADDINGS)}")
        if node.op == "AveragePool" and set(rest.get("dilations", [1])) == {1}:
            rest.pop("dilations", None)
        if rest.get("auto_pad") == "VALID":
            rest.pop("pads", None)
        if rest.get("auto_pad") == "NOTSET" or (rest.get("auto_pad") == "VALID" and not rest.get("ceil_mode")):
            del rest["auto_pad"]
        return replace(node, attributes=rest)

    return replace(graph, nodes=tuple(plain(node) for node in graph.nodes))


_PADDINGS = ("NOTSET", "SAME_LOWER", "SAME_UPPER", "VALID")
