"""Affine layers and what is fused with them: by us, once, for speed; and by any runtime that deploys the file.

A runtime that multiplies a scale into the weights, adds a constant to the bias, or starts the sum of a layer with
the other branch of an addition, computes what the file says in another order and with more roundings on a path.
All of that is counted (rounding.py, "Fused layers"): `roundings` of the layer has what can be folded into its
weights, `roundings` of the operator behind it the length of the sum that its operand may be drawn into, and `size`
what stands for |b| where the bias is a sum of parts. So the bounds hold for the file as it was written, for the
graph that is served, and for whatever ONNX Runtime makes of either.

What rounding changes is relative to a weight only while that is a normal number: a fold after which some weight is
subnormal, zero without having been it, or above 2^100 is refused, be it ours or one that a runtime may make.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, prod

import torch
from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.norm import ROUNDINGS, norm_statistics
from goodcert.bounds.rule import number, require

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

BEHIND = {"Add": 2, "Sub": 2, "Sum": 2, "Mul": 3, "Div": 4, "BatchNormalization": ROUNDINGS + 2}
"""Operators that a runtime fuses into the layer before, and how many roundings that adds to a path through the
layer: its own, one for what is left of a constant, a unit more for a quotient that is not correctly rounded, and
two for the difference between our weights and those of the file."""

SCALES = ("Mul", "Div", "BatchNormalization")
"""Those that a runtime multiplies into the weights."""

FACTORS = 6
"""The same for alpha and beta: a product with alpha, its rounding in ours, and beta's likewise."""

LARGEST_FACTOR = 2.0**40
"""Of alpha and beta, in either direction: under 2^70 (rounding.py, "No overflow") a product then stays below 2^110
before alpha, and what underflows before it is paid for by `underflow`."""


def underflow(factor: Tensor) -> Tensor:
    """What to add to `size` where sums that may lose 2^-104 each are multiplied by `factor`: the share c gamma of
    it, at least 2^-22, is above that loss."""
    return factor.abs() * 2.0**-80


def rounded(node: Node, exact: Tensor) -> Tensor:
    """float64 weights in float32. Raises Unsupported, by node, where that is no relative change."""
    require(node, _normal(exact[exact != 0].abs()), _NO_UNDERFLOW)
    return exact.float()


def _normal(sizes: Tensor) -> bool:
    return bool(((sizes >= 2.0**-126) & (sizes <= 2.0**100)).all())


_NO_UNDERFLOW = "factors under which no weight under- or overflows"


# --- what is folded -----------------------------------------------------------------------------------


def scale_gemm(graph: Graph) -> Graph:
    """Gemm with alpha and beta at their defaults: the factors go into the weights, once."""
    for node in [node for node in graph.nodes if node.op == "Gemm"]:
        graph = _scaled(graph, node)
    return graph


def factors_of(node: Node) -> tuple[float, float]:
    """(alpha, beta) of a Gemm. Raises Unsupported for factors under which its sums could leave the range."""
    alpha, beta = number(node, "alpha", 1.0), number(node, "beta", 1.0)
    fits = all(f == 0 or 1 / LARGEST_FACTOR <= abs(f) <= LARGEST_FACTOR for f in (alpha, beta))
    require(node, fits, "alpha and beta between 2^-40 and 2^40, or 0")
    return alpha, beta


def _scaled(graph: Graph, node: Node) -> Graph:
    rest, inputs, constants = dict(node.attributes), list(node.inputs), dict(graph.constants)
    if any(name and name not in constants for name in inputs[1:]):
        return graph  # factors of what varies stay where they are
    if rest.pop("transA", 0):
        raise Unsupported(f"node {node.name!r} (Gemm): transA, expected the images in rows")
    factors = factors_of(node)
    for position, attribute in ((1, "alpha"), (2, "beta")):
        rest.pop(attribute, None)
        factor = factors[position - 1]
        if factor == 1 or inputs[position : position + 1] in ([], [""]):
            continue
        name = graph.fresh(f"{node.output}/scaled{position}")
        constants[name] = rounded(node, constants[inputs[position]].double() * factor)
        inputs[position] = name
    plain = replace(node, inputs=tuple(inputs), attributes=rest)
    if factors != (1, 1):
        outputs = constants[inputs[1]].shape[0 if rest.get("transB", 0) else 1]
        size = _bias(constants, plain, outputs).abs() + underflow(torch.tensor(factors[0]).double())
        plain = replace(plain, roundings=node.roundings + FACTORS, size=size)
    return replace(graph, nodes=tuple(plain if n is node else n for n in graph.nodes), constants=constants)


def _bias(constants: Mapping[str, Tensor], layer: Node, outputs: int) -> Tensor:
    """The bias of a convolution or Gemm in float64, (outputs,), zeros where it has none. Raises Unsupported."""
    named = len(layer.inputs) > 2 and layer.inputs[2]
    bias = constants[layer.inputs[2]].double() if named else torch.zeros(1, dtype=torch.float64)
    if bias.ndim > 1 and bias.shape[0] != 1:
        raise Unsupported(f"node {layer.name!r} ({layer.op}): expected one bias for all rows")
    return bias.reshape(-1).expand(outputs)


def merge_bias(graph: Graph) -> Graph:
    """MatMul, then Add of one constant per column, is Gemm: the same sums in another order."""
    for add in [node for node in graph.nodes if node.op == "Add"]:
        for product, bias in (add.inputs, add.inputs[::-1]):
            node = graph.producer(product)
            if node and node.op == "MatMul" and _is_bias(graph, node, bias) and graph.users(product) == 1:
                roundings = node.roundings + add.roundings
                merged = Node("Gemm", (*node.inputs, bias), add.output, {}, node.name, roundings)
                nodes = tuple(merged if n is add else n for n in graph.nodes if n is not node)
                graph = replace(graph, nodes=nodes)
    return graph


def _is_bias(graph: Graph, matmul: Node, name: str) -> bool:
    """Gemm takes matrices only, so the images must be known to come as rows of one."""
    weight, bias = graph.constants.get(matmul.inputs[1]), graph.constants.get(name)
    if weight is None or bias is None or graph.ranks.get(matmul.inputs[0]) != 2:
        return False
    return weight.ndim == 2 and bias.shape == weight.shape[1:]


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
    scale, shift, magnitude = norm_statistics(norm, [graph.constants[name] for name in norm.inputs[1:]])
    weight = graph.constants[layer.inputs[1]].double()
    rows_first = layer.op == "Conv" or bool(layer.attributes.get("transB", 0))
    across = scale.reshape(-1, *[1] * (weight.ndim - 1)) if rows_first else scale
    old = _bias(graph.constants, layer, len(scale))
    old_size = old.abs() if layer.size is None else layer.size
    constants = {
        graph.fresh(f"{norm.output}/weight"): rounded(norm, weight * across),
        graph.fresh(f"{norm.output}/bias"): (old * scale + shift).float(),
    }
    merged = replace(
        layer,
        inputs=(layer.inputs[0], *constants),
        output=norm.output,
        roundings=layer.roundings + norm.roundings + BEHIND[norm.op],
        size=old_size * scale.abs() + magnitude + underflow(scale),
    )
    nodes = tuple(merged if n is norm else n for n in graph.nodes if n is not layer)
    return replace(graph, nodes=nodes, constants={**graph.constants, **constants})


# --- what a runtime may fuse --------------------------------------------------------------------------


def count_fusions(graph: Graph) -> Graph:
    """The same graph with the roundings of what a runtime may fuse: operators `BEHIND` a layer whose result nobody
    else reads, into the layer, one after the other."""
    readers: dict[str, list[int]] = {}
    for position, node in enumerate(graph.nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(position)
    nodes = list(graph.nodes)
    for position, layer in enumerate(graph.nodes):
        if layer.op in LAYERS:
            _count_behind(graph, nodes, position, readers)
    return replace(graph, nodes=tuple(nodes))


def _count_behind(graph: Graph, nodes: list[Node], position: int, readers: Mapping[str, list[int]]) -> None:
    value = nodes[position].output
    sizes = _weight_sizes(graph, nodes[position])
    while value not in graph.outputs and len(readers.get(value, ())) == 1:
        (reader,) = readers[value]
        layer, behind = nodes[position], nodes[reader]
        if not _joins(graph, behind, value):
            return
        if behind.op in SCALES:
            sizes = sizes * _scale_sizes(graph, layer, behind, value)
            require(behind, _normal(sizes), _NO_UNDERFLOW)
        nodes[position] = replace(layer, roundings=layer.roundings + BEHIND[behind.op])
        if behind.op not in ("Mul", "Div"):
            terms = _fan_in(graph, layer) + layer.roundings + 2
            nodes[reader] = replace(behind, roundings=max(behind.roundings, terms))
        value = behind.output


def _joins(graph: Graph, node: Node, value: str) -> bool:
    """Whether it is a scale or a sum of the layer's result: a product or quotient only with a constant."""
    others = [name for name in node.inputs if name != value]
    constant = all(name in graph.constants for name in others)
    affine = constant and (node.op == "Mul" or node.inputs[0] == value)
    return node.op in BEHIND and (node.op not in ("Mul", "Div") or affine)


def _weight_sizes(graph: Graph, layer: Node) -> Tensor:
    """float64 (2, C) or (2, 1): the smallest and the largest |weight| that is not 0, of every channel of a Conv,
    of all weights of another layer."""
    weights = [graph.constants[name] for name in layer.inputs[:2] if name in graph.constants]
    if not weights:
        return torch.ones(2, 1, dtype=torch.float64)  # what varies is folded into nothing
    return _sizes(weights[-1].flatten(1) if layer.op == "Conv" else weights[-1].reshape(1, -1))


def _scale_sizes(graph: Graph, layer: Node, node: Node, value: str) -> Tensor:
    """The same of what `node` multiplies `value`, which comes from the layer, with."""
    names = [name for name in node.inputs if name != value]
    require(node, all(name in graph.constants for name in names), "constant factors")
    constants = [graph.constants[name].double() for name in names]
    weight = graph.constants.get(layer.inputs[1])
    rank = weight.ndim - 1 if layer.op == "Conv" and weight is not None else 0  # of one image
    if node.op == "BatchNormalization":
        factor = norm_statistics(node, constants).scale.reshape(-1, *[1] * (rank - 1))
    else:
        factor = constants[0] if node.op == "Mul" else 1 / constants[0]
    if weight is None or not 0 < rank <= factor.ndim or factor.shape[-rank] != len(weight):
        return _sizes(factor.reshape(1, -1))
    return _sizes(factor.movedim(-rank, 0).flatten(1))


def _sizes(values: Tensor) -> Tensor:
    """(2, rows): 1 for rows of zeros, which stay so whatever they are multiplied with."""
    sizes = values.double().abs()
    if not sizes.numel():
        return torch.ones(2, 1, dtype=torch.float64)
    least, most = sizes.masked_fill(sizes == 0, inf).amin(1), sizes.amax(1)
    return torch.stack([least, most]).masked_fill(most == 0, 1)


def _fan_in(graph: Graph, layer: Node) -> int:
    """How many products the layer sums."""
    weight = graph.constants.get(layer.inputs[1])
    if layer.op == "Conv" and weight is not None:
        return prod(weight.shape[1:])
    if layer.op == "ConvTranspose" and weight is not None:
        return weight.shape[0] * prod(weight.shape[2:])
    known = graph.constants.get(layer.inputs[0])
    sizes = tuple(known.shape) if known is not None else graph.shapes.get(layer.inputs[0], (None,))
    summed = sizes[0 if layer.attributes.get("transA", 0) else -1] if sizes else None
    if summed is None and weight is not None:
        summed = weight.shape[-1 if layer.attributes.get("transB", 0) or weight.ndim == 1 else -2]
    if summed is None:
        raise Unsupported(f"node {layer.name!r} ({layer.op}): sums of unknown length, expected known shapes")
    return summed
