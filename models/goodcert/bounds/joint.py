"""Classifiers joined with a discriminator: bounded by the discriminator alone.

With log-odds s(x) of the in-distribution, p(in | x) = 1 / (1 + exp(-s)), a joint model serves (Meinke,
Bitterwolf, Hein, NeurIPS 2022)

    p(y | x) = p(y | x, in) p(in | x) + (1 - p(in | x)) / K   <=   p(in | x) + (1 - p(in | x)) / K,

which grows with s. So an upper end S of s over a ball bounds the confidence, whatever the classifier does:
guarantees at no cost in accuracy. `join` writes such a model as one graph with the logits log p(y | x), in which,
with L = log p(y | x, in), sp(t) = log(1 + exp(t)) and two numbers of its own for every image, e and c,

    e = s + log K,     t_y = min(L_y, 0) + e,     g_y = sp(t_y),     c = sp(s) + log K,     z_y = g_y - c.

`head` finds these very nodes at the end of a graph, and `JointDifferences` bounds what stands before them.

Rounding. Tildes mark what a float32 evaluation gives; u = 2^-24. The interval of s covers s~ <= S. Float
addition is monotone, and min(L~_y, 0) <= 0 without rounding, so t~_y <= e~ <= E, where E = fl(S + log K~) is the
same single addition. (Activations so large that L~ might not be a number are refused before: admission.py.)

The log-sum-exp of (0, t), which is sp(t), takes the larger of the two out first: its sum lies in [1, 2] and errs
by a few units relatively, its logarithm so absolutely, and adding the larger one again rounds once. What is
assumed of it, in ONNX Runtime and in PyTorch, is an error of at most a(t) = 2^-20 max(0, t) + 2^-20; the tests
compare with arbitrary precision. Hence -2^-20 <= g~_y <= sp(E) + a(E).

The last subtraction rounds two logits separately, by u |g~ - c~| each; c~ is one number for all. As sp(s) +
log K = log(K + K exp(s)) <= sp(s + log K) + log K and K <= 1024, that is at most u (sp(E) + 8). Together, since
max(0, E) <= sp(E), for all classes k and l,

    z~_k - z~_l <= sp(E) + a(E) + 2^-20 + 2 u (sp(E) + 8) <= sp(E) (1 + 2^-20 + 2^-23) + 2^-19 + 2^-20.

We compute d, the log-sum-exp of (0, E) in float32, in error by at most a(E) itself: sp(E) <= (d + 2^-20)
(1 + 2^-19). So z~_k - z~_l <= D = d (1 + 2^-18) + 2^-17, in float64, with room for its rounding. A matrix of
differences that is D off the diagonal gives in eq. 6 (confidence.py) the bound 1 / (1 + (K - 1) exp(-D)), which
for D = sp(s + log K) is p(in | x) + (1 - p(in | x)) / K, and covers the confidence that is served; its lower bound
is 1/K.
"""

from dataclasses import dataclass, replace
from math import log

import torch
from torch import Tensor

from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT, FLOAT32, Rounding


@dataclass(frozen=True)
class Head:
    """The end of a joint model. discriminator: the graph up to the log-odds (N, 1); shift: log K in float32."""

    discriminator: Graph
    classes: int
    shift: Tensor


class JointDifferences:
    """The matrix of a joint model. Call it with the interval of the log-odds (N, 1)."""

    def __init__(self, head: Head, rounding: Rounding = FLOAT32, dtype: torch.dtype = torch.float32) -> None:
        device = head.shift.device
        shares = rounding.unit / FLOAT32.unit  # how many times the margin of the theorem
        self._relative, self._absolute = shares * 2**-18, shares * 2**-17
        self._shift = head.shift.reshape(1, 1).to(dtype)
        self._diagonal = torch.eye(head.classes, dtype=torch.bool, device=device)

    def __call__(self, log_odds: Interval) -> Tensor:
        """(N, K, K) float64: D off the diagonal, 0 on it."""
        e = log_odds.upper.to(self._shift.dtype) + self._shift
        d = torch.cat([torch.zeros_like(e), e], dim=1).logsumexp(dim=1).double()
        largest = (d + d * self._relative + self._absolute)[:, None, None]
        return torch.where(self._diagonal, torch.zeros_like(largest), largest)


# --- writing ------------------------------------------------------------------------------------------

LOG_ODDS = "log_odds"
"""The name of s in a graph that `join` made."""

_OPSET = 17
"""In which the nodes of the head mean what is said above."""


def join(classifier: Graph, discriminator: Graph, classes: int) -> Graph:
    """One graph with the logits log p(y | x). classifier: images (N, C, H, W) to logits (N, K) of p(y | x, in);
    discriminator: the same images to log-odds (N, 1). Raises ValueError for graphs of another opset."""
    if {classifier.opset, discriminator.opset} != {_OPSET}:
        raise ValueError(f"got opsets {classifier.opset} and {discriminator.opset}, expected {_OPSET}")
    parts = [_renamed(classifier, "classifier/"), _renamed(discriminator, "discriminator/")]
    (logits,), (log_odds,) = (part.outputs for part in parts)
    both = replace(
        parts[0],
        nodes=(*parts[0].nodes, *parts[1].nodes, *_nodes(logits, log_odds)),
        constants={**parts[0].constants, **parts[1].constants, **_constants(classes)},
        outputs=("log_p",),
    )
    return both.rewire(discriminator.input, classifier.input) if discriminator.input != classifier.input else both


def _renamed(graph: Graph, prefix: str) -> Graph:
    def name(old: str) -> str:
        return old if old in (graph.input, "") else prefix + old

    nodes = tuple(
        replace(n, inputs=tuple(map(name, n.inputs)), output=name(n.output), name=prefix + (n.name or n.output))
        for n in graph.nodes
    )
    constants = {name(old): value for old, value in graph.constants.items()}
    return replace(graph, nodes=nodes, constants=constants, outputs=tuple(map(name, graph.outputs)))


def _nodes(logits: str, log_odds: str) -> tuple[Node, ...]:
    """The nodes of the head, in the names of the module's docstring."""
    over = {"axes": [2], "keepdims": 0}
    made = (
        Node("Identity", (log_odds,), LOG_ODDS),
        Node("LogSoftmax", (logits,), "L", {"axis": 1}),
        Node("Min", ("L", "zero"), "L_at_most_0"),
        Node("Add", (LOG_ODDS, "log_K"), "e"),
        Node("Add", ("L_at_most_0", "e"), "t"),
        Node("Unsqueeze", ("t", "last_axis"), "t_alone"),
        Node("Pad", ("t_alone", "zero_before"), "zero_and_t"),
        Node("ReduceLogSumExp", ("zero_and_t",), "g", over),
        Node("Unsqueeze", (LOG_ODDS, "last_axis"), "s_alone"),
        Node("Pad", ("s_alone", "zero_before"), "zero_and_s"),
        Node("ReduceLogSumExp", ("zero_and_s",), "softplus_s", over),
        Node("Add", ("softplus_s", "log_K"), "c"),
        Node("Sub", ("g", "c"), "log_p"),
    )
    return tuple(replace(node, name=node.output) for node in made)


def _constants(classes: int) -> dict[str, Tensor]:
    return {
        "zero": torch.zeros(1, 1),
        "log_K": torch.tensor([[log(classes)]]),
        "last_axis": torch.tensor([2]),
        "zero_before": torch.tensor([0, 0, 1, 0, 0, 0]),
    }


# --- reading ------------------------------------------------------------------------------------------


def head(graph: Graph) -> Head | None:
    """The head of a graph that ends in exactly the nodes of `join`, under whatever names; None for any other."""
    names = _unified(graph) if len(graph.outputs) == 1 and graph.opset == _OPSET else None
    if names is None or not all(name in graph.constants for name in (names[c] for c in _constants(2))):
        return None
    discriminator = replace(graph, outputs=(names[LOG_ODDS],)).pruned()
    classes, odds = _shape(graph), _shape(discriminator)
    if len(classes) != 2 or odds != (1, 1):
        return None
    expected = _constants(classes[1])
    if not all(torch.equal(graph.constants[names[c]].cpu(), expected[c]) for c in expected):
        return None
    return Head(discriminator, classes[1], graph.constants[names["log_K"]])


def _unified(graph: Graph) -> dict[str, str] | None:
    """What the names of `_nodes` are called in the graph, where every one of them has its node."""
    pattern = {node.output: node for node in _nodes("logits", "") if node.op != "Identity"}
    names: dict[str, str] = {}
    waiting = [("log_p", graph.outputs[0])]
    while waiting:
        wanted, name = waiting.pop()
        if names.setdefault(wanted, name) != name:
            return None
        if wanted in pattern:
            node, found = pattern[wanted], graph.producer(name)
            if found is None or (found.op, dict(found.attributes)) != (node.op, dict(node.attributes)):
                return None
            if len(found.inputs) != len(node.inputs):
                return None
            waiting += zip(node.inputs, found.inputs, strict=True)
    return names


def _shape(graph: Graph) -> tuple[int, ...]:
    """Of the output for one image."""
    image = torch.zeros([1, *(size or 1 for size in graph.input_shape[1:])], device=graph.device)
    (x,) = prepare(graph, EXACT)(Interval(image, image))
    return tuple(x.lower.shape)
