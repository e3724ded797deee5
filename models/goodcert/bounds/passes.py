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


def normalise(graph: Graph, rewrite: bool = True) -> Graph:
    """All passes, in order; without `rewrite` only those that round nothing."""
    exact = (drop_no_ops, plain_padding)
    for apply in (fold_constants, *exact, plain_gemm, merge_bias, fold_batch_norm) if rewrite else exact:
        graph = apply(graph)
    return graph.pruned()


def fixed_reshapes(graph: Graph, shapes: Mapping[str, tuple[int | None, ...]]) -> Graph:
    """A Reshape whose target is computed from the size of the batch gets the shape that was inferred for it,
    with -1 for the one free axis."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        sizes = shapes.get(node.output, (None, None))
        if node.op == "Reshape" and node.inputs[1] not in constants and sizes.count(None) <= 1 and 0 not in sizes:
            name = f"{node.output}/shape"
            constants[name] = torch.tensor([-1 if size is None else size for size in sizes])
            node = replace(node, inputs=(node.inputs[0], name))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


# --- constants ----------------------------------------------------------------------------------------


def fold_constants(graph: Graph) -> Graph:
    """Evaluate nodes all of whose inputs are constants. The few operators that exporters put between
    weights and layers; any other is left for the rules to refuse."""
    constants, nodes = dict(graph.constants), []
    for node in graph.nodes:
        evaluate = _FOLDABLE.get(node.op)
        if evaluate is None or any(name not in constants for name in node.inputs):
            nodes.append(node)
            continue
        constants[node.output] = evaluate(node, [constants[name] for name in node.inputs])
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _constant(node: Node, _: list[Tensor]) -> Tensor:
    value = next(iter(node.attributes.values()))
    if isinstance(value, Tensor):
        return value
    if isinstance(value, float | int) or (isinstance(value, list) and value):
        return torch.tensor(value)
    raise Unsupported(f"node {node.name!r} (Constant): expected a tensor or numbers, got {value!r}")


_FOLDABLE: dict[str, Callable[[Node, list[Tensor]], Tensor]] = {
    "Constant": _constant,
    "Identity": lambda _, x: x[0],
    "Transpose": lambda node, x: x[0].permute(node.attributes.get("perm", [*reversed(range(x[0].ndim))])),
    "Neg": lambda _, x: -x[0],
    "Add": lambda _, x: x[0] + x[1],
    "Sub": lambda _, x: x[0] - x[1],
    "Mul": lambda _, x: x[0] * x[1],
    "Div": lambda _, x: x[0] / x[1] if x[0].is_floating_point() else x[0] // x[1],
}


# --- what does nothing in inference -------------------------------------------------------------------


_FLOAT = 1
"""Every value that varies is float32 already."""


def drop_no_ops(graph: Graph) -> Graph:
    for node in graph.nodes:
        nothing = node.op == "Identity" or (node.op == "Cast" and node.attributes.get("to") == _FLOAT)
        if (nothing or (node.op == "Dropout" and _inference(graph, node))) and node.output not in graph.outputs:
            graph = graph.without(node).rewire(node.output, node.inputs[0])
        elif nothing or node.op == "Dropout":
            graph = graph.replaced(node, replace(node, op="Identity", inputs=node.inputs[:1], attributes={}))
    return graph


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
        if node.op == "AveragePool" and set(rest.get("dilations", [1])) == {1}:
            rest.pop("dilations", None)
        if rest.get("auto_pad") in ("VALID", "NOTSET"):
            if rest.pop("auto_pad") == "VALID":
                rest.pop("pads", None)
        return replace(node, attributes=rest)

    return replace(graph, nodes=tuple(plain(node) for node in graph.nodes))


# --- affine layers ------------------------------------------------------------------------------------


def plain_gemm(graph: Graph) -> Graph:
    """Gemm with alpha, beta and transA at their defaults: the factors go into the weights, once."""
    constants = dict(graph.constants)
    nodes = tuple(_plain_gemm(node, constants) if node.op == "Gemm" else node for node in graph.nodes)
    return replace(graph, nodes=nodes, constants=constants)


def _plain_gemm(node: Node, constants: dict[str, Tensor]) -> Node:
    rest = dict(node.attributes)
    factors = rest.pop("alpha", 1.0), rest.pop("beta", 1.0)
    if rest.pop("transA", 0):
        raise Unsupported(f"node {node.name!r} (Gemm): transA, expected the images in rows")
    inputs = list(node.inputs)
    for position, factor in enumerate(factors, start=1):
        if factor == 1 or position >= len(inputs) or not inputs[position]:
            continue
        if inputs[position] not in constants:
            raise Unsupported(f"node {node.name!r} (Gemm): an operand that varies where weights are expected")
        scaled = f"{node.output}/scaled{position}"
        constants[scaled] = (constants[inputs[position]].double() * factor).float()
        inputs[position] = scaled
    return replace(node, inputs=tuple(inputs), attributes=rest)


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
    weight, bias = graph.constants.get(matmul.inputs[1]), graph.constants.get(name)
    # A matrix on the right could still meet stacked matrices on the left, which Gemm does not take; bounded
    # classifiers reach a dense layer as (N, features), and anything else is refused when it is run.
    return weight is not None and bias is not None and weight.ndim == 2 and bias.shape == weight.shape[1:]


# --- batch normalization ------------------------------------------------------------------------------


def fold_batch_norm(graph: Graph) -> Graph:
    """Into the layer before where only the norm reads it, else into a product and a sum."""
    for node in [node for node in graph.nodes if node.op == "BatchNormalization"]:
        scale, shift = _scale_and_shift(graph, node)
        before = graph.producer(node.inputs[0])
        if before and before.op in ("Conv", "Gemm") and graph.users(node.inputs[0]) == 1:
            graph = _into_layer(graph, before, node, scale, shift)
        else:
            graph = _into_product(graph, node, scale, shift)
    return graph


def _scale_and_shift(graph: Graph, node: Node) -> tuple[Tensor, Tensor]:
    """float64 (C,): y = scale x + shift."""
    attributes = {k: v for k, v in node.attributes.items() if k not in ("momentum", "epsilon")}
    if attributes.pop("training_mode", 0) or attributes.pop("spatial", 1) != 1 or attributes:
        raise Unsupported(f"node {node.name!r} (BatchNormalization): {attributes}, expected inference, spatial")
    if any(name not in graph.constants for name in node.inputs[1:]):
        raise Unsupported(f"node {node.name!r} (BatchNormalization): expected constant statistics")
    gamma, beta, mean, variance = (graph.constants[name].double() for name in node.inputs[1:])
    scale = gamma / torch.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shift = beta - mean * scale
    if not (torch.isfinite(scale).all() and torch.isfinite(shift).all()):
        raise Unsupported(f"node {node.name!r} (BatchNormalization): scale or shift is not finite")
    return scale, shift


def _into_layer(graph: Graph, layer: Node, norm: Node, scale: Tensor, shift: Tensor) -> Graph:
    weight = graph.constants[layer.inputs[1]].double()
    rows_first = layer.op == "Conv" or bool(layer.attributes.get("transB", 0))
    folded = weight * (scale.reshape(-1, *[1] * (weight.ndim - 1)) if rows_first else scale)
    old = graph.constants[layer.inputs[2]].double() if len(layer.inputs) > 2 and layer.inputs[2] else 0.0
    names = f"{norm.output}/weight", f"{norm.output}/bias"
    merged = replace(layer, inputs=(layer.inputs[0], *names), output=norm.output)
    nodes = tuple(merged if n is norm else n for n in graph.nodes if n is not layer)
    constants = {names[0]: folded.float(), names[1]: (old * scale + shift).float()}
    return replace(graph, nodes=nodes, constants={**graph.constants, **constants})


def _into_product(graph: Graph, norm: Node, scale: Tensor, shift: Tensor) -> Graph:
    names = f"{norm.output}/scale", f"{norm.output}/shift"
    # Without shape inference the rank is unknown; only images (N, C, H, W) are normalised outside layers.
    constants = {names[0]: scale.float().reshape(-1, 1, 1), names[1]: shift.float().reshape(-1, 1, 1)}
    product = Node("Mul", (norm.inputs[0], names[0]), f"{norm.output}/product", {}, norm.name)
    total = Node("Add", (product.output, names[1]), norm.output, {}, norm.name)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.extend((product, total) if node is norm else (node,))
    return replace(graph, nodes=tuple(nodes), constants={**graph.constants, **constants})
