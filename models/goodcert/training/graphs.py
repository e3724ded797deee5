"""From what a method trained to the one graph that is deployed."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.joint import join
from goodcert.bounds.sequential import graph_of
from goodcert.nets.joint import Joint
from goodcert.nets.mixture import LogOdds, Mixture
from goodcert.training.recipes import Recipe


def deployed(net: nn.Module, recipe: Recipe, classifier: nn.Module | None = None) -> Graph:
    """The graph with one logit a class. A discriminator is joined with `classifier`, which ProoD takes as it is.

    Raises ValueError for a discriminator without one.
    """
    if isinstance(net, Joint):
        discriminator = _graph(net.discriminator, recipe)
        return join(_graph(net.classifier, recipe), discriminator, len(recipe.labels))
    if recipe.method == "ProoD":
        if classifier is None:
            raise ValueError(f"{recipe.name}: a discriminator alone, expected the classifier of {recipe.base!r}")
        return join(_graph(classifier, recipe), _graph(_shifted(net, recipe.shift), recipe), len(recipe.labels))
    return _graph(net, recipe)


def _shifted(net: nn.Module, by: float) -> nn.Module:
    """A copy whose log-odds are higher (Meinke, Bitterwolf, Hein, NeurIPS 2022: the bias shift Delta)."""
    shifted = deepcopy(net)
    last = list(shifted.children())[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"got {type(last).__name__}, expected nn.Linear as the last layer of a discriminator")
    with torch.no_grad():
        last.bias.add_(by)
    return shifted


def _graph(net: nn.Module, recipe: Recipe) -> Graph:
    if isinstance(net, LogOdds):
        return _log_odds(net, recipe)
    if not isinstance(net, nn.Sequential):
        raise TypeError(f"got {type(net).__name__}, expected nn.Sequential or LogOdds")
    return graph_of(net, recipe.input_shape)


def _log_odds(net: LogOdds, recipe: Recipe) -> Graph:
    """log p(x | in) - log p(x | out), from the distances to all centres, pixel by pixel: looser bounds would come
    from the products in which training computes them."""
    parts = {"inside": _mixture(net.inside), "outside": _mixture(net.outside)}
    nodes = [Node("Flatten", ("images",), "flat", {"axis": 1}), Node("Unsqueeze", ("flat", "middle"), "points")]
    constants = {"middle": Tensor([1]).long()}
    for part, (made, values) in parts.items():
        nodes += [_of(part, node) for node in made]
        constants |= {f"{part}/{name}": value for name, value in values.items()}
    nodes.append(Node("Sub", ("inside/log_density", "outside/log_density"), "log_odds"))
    named = tuple(Node(n.op, n.inputs, n.output, n.attributes, n.output) for n in nodes)
    return Graph("images", (None, *recipe.input_shape), ("log_odds",), named, constants)


def _of(part: str, node: Node) -> Node:
    inputs = tuple(name if name == "points" else f"{part}/{name}" for name in node.inputs)
    return Node(node.op, inputs, f"{part}/{node.output}", node.attributes)


def _mixture(net: Mixture) -> tuple[list[Node], dict[str, Tensor]]:
    """The nodes from points (N, 1, D) to the log density (N, 1), and their constants."""
    nodes = [
        Node("Sub", ("points", "centres"), "differences"),
        Node("ReduceSumSquare", ("differences",), "squares", {"axes": [2], "keepdims": 0}),
        Node("Mul", ("squares", "factors"), "exponents"),
        Node("Add", ("exponents", "offsets"), "components"),
        Node("ReduceLogSumExp", ("components",), "log_density", {"axes": [1], "keepdims": 1}),
    ]
    constants = {
        "centres": net.centres[None],
        "factors": (-0.5 / net.log_variance.exp())[None],
        "offsets": net.offsets()[None],
    }
    return nodes, {name: value.detach() for name, value in constants.items()}
