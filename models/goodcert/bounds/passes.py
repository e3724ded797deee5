"""From the graph as written to the graph that runs: constants and batch norms folded, no-ops dropped.

Each pass takes a graph and returns one. The result is what both ONNX Runtime and the bound engine are given,
so whatever a fold rounds is rounded once for both, and the bound is about the numbers that are served.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.norm import norm_statistics


def normalise(graph: Graph, *, fold_weights: bool) -> Graph:
    """All passes, in order. Without `fold_weights` those are left out that round weights anew: the graph
    then computes what the file says, layer by layer."""
    for apply in (fold_constants, drop_no_ops, plain_padding):
        graph = apply(graph)
    for apply in (scale_gemm, merge_bias, fold_batch_norm) if fold_weights else ():
        graph = apply(graph)
    return graph.pruned()


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
    """Evaluate float arithmetic all of whose operands are constants, one correctly rounded operation each, as
    any runtime does, and what moves its results. Everything else was computed before (folding.py)."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        evaluate = _ARITHMETIC.get(node.op)
        if evaluate is None or any(name not in constants for name in node.inputs):
            nodes.append(node)
            continue
        try:
            constants[node.output] = evaluate(node, *(constants[name] for name in node.inputs))
        except RuntimeError as error:
            raise Unsupported(f"node {node.name!r} ({node.op}): cannot be computed: {error}") from error
    return replace(graph, nodes=tuple(nodes), constants=constants)


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


# --- affine layers ------------------------------------------------------------------------------------


def scale_gemm(graph: Graph) -> Graph:
    """Gemm with alpha and beta at their defaults: the factors go into the weights, once."""
    for node in [node for node in graph.nodes if node.op == "Gemm"]:
        graph = _scaled(graph, node)
    return graph


def _scaled(graph: Graph, node: Node) -> Graph:
    rest, inputs, constants = dict(node.attributes), list(node.inputs), dict(graph.constants)
    if any(name and name not in constants for name in inputs[1:]):
        return graph  # factors of what varies stay where they are
    if rest.pop("transA", 0):
        raise Unsupported(f"node {node.name!r} (Gemm): transA, expected the images in rows")
    for position, attribute in ((1, "alpha"), (2, "beta")):
        factor = rest.pop(attribute, 1.0)
        if factor == 1 or inputs[position : position + 1] in ([], [""]):
            continue
        name = graph.fresh(f"{node.output}/scaled{position}")
        constants[name] = (constants[inputs[position]].double() * factor).float()
        inputs[position] = name
    plain = replace(node, inputs=tuple(inputs), attributes=rest)
    return replace(graph, nodes=tuple(plain if n is node else n for n in graph.nodes), constants=constants)


def merge_bias(graph: Graph) -> Graph:
    """MatMul, then Add of one constant per column, is Gemm: the same sums in another order."""
    for add in [node for node in graph.nodes if node.op == "Add"]:
        for product, bias in (add.inputs, add.inputs[::-1]):
            node = graph.producer(product)
            if node and node.op == "MatMul" and _is_bias(graph, node, bias) and graph.users(product) == 1:
                merged = Node("Gemm", (*node.inputs, bias), add.output, {}, node.name)
                nodes = tuple(merged if n is add else n for n in graph.nodes if n is not node)
                graph = replace(graph, nodes=nodes)
    return graph


def _is_bias(graph: Graph, matmul: Node, name: str) -> bool:
    """Gemm takes matrices only, so the images must be known to come as rows of one."""
    weight, bias = graph.constants.get(matmul.inputs[1]), graph.constants.get(name)
    if weight is None or bias is None or graph.ranks.get(matmul.inputs[0]) != 2:
        return False
    return weight.ndim == 2 and bias.shape == weight.shape[1:]


# --- batch normalization ------------------------------------------------------------------------------


def fold_batch_norm(graph: Graph) -> Graph:
    """Into the layer before, where only the norm reads it; elsewhere it stays and is bounded by its rule."""
    for node in [node for node in graph.nodes if node.op == "BatchNormalization"]:
        before = graph.producer(node.inputs[0])
        if before and before.op in ("Conv", "Gemm") and graph.users(node.inputs[0]) == 1:
            graph = _into_layer(graph, before, node)
    return graph


def _into_layer(graph: Graph, layer: Node, norm: Node) -> Graph:
    if any(name not in graph.constants for name in (*norm.inputs[1:], *filter(None, layer.inputs[1:]))):
        return graph  # refused by their rules
    statistics = norm_statistics(norm, [graph.constants[name] for name in norm.inputs[1:]])
    weight = graph.constants[layer.inputs[1]].double()
    rows_first = layer.op == "Conv" or bool(layer.attributes.get("transB", 0))
    scale = statistics.scale.reshape(-1, *[1] * (weight.ndim - 1)) if rows_first else statistics.scale
    old = graph.constants[layer.inputs[2]].double() if len(layer.inputs) > 2 and layer.inputs[2] else 0.0
    names = graph.fresh(f"{norm.output}/weight"), graph.fresh(f"{norm.output}/bias")
    merged = replace(layer, inputs=(layer.inputs[0], *names), output=norm.output)
    nodes = tuple(merged if n is norm else n for n in graph.nodes if n is not layer)
    bias = old * statistics.scale + statistics.shift
    constants = {names[0]: (weight * scale).float(), names[1]: bias.float()}
    return replace(graph, nodes=nodes, constants={**graph.constants, **constants})
