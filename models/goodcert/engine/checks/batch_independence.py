"""That no image of a batch sees another: a certificate is about one image, whatever its neighbours.

Three checks, each of which must pass. The shape of every value has the batch as its first axis (`admit`). Every
operator is known to leave that axis alone, given its attributes and the ranks it meets (`check_operators`). And
a row of every value keeps its bits where all other rows of a batch of boxes change (`check_values`).
"""

from collections.abc import Callable, Mapping

import torch

from goodcert.bounds import movement, reductions
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rule import Constants, integers
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.errors import EngineError

Keeps = Callable[[Node, Constants, int], bool]
"""Whether a node keeps the rows of its input apart, given its constants and the rank of what varies."""


def check(admitted: AdmittedGraph) -> None:
    """Raises EngineError, by node and operator, for a graph in which one image could see another."""
    check_operators(admitted.graph, {name: len(shape) + 1 for name, shape in admitted.shapes.items()})
    check_values(admitted)


def check_operators(graph: Graph, ranks: Mapping[str, int]) -> None:
    for node in graph.nodes:
        constants = tuple(graph.constants.get(name) for name in node.inputs)
        # Broadcasting aligns the last axes: only values of one rank meet row by row.
        own = {ranks[name] for name in node.inputs if name in ranks and name not in graph.constants}
        keeps = KEEPS.get(node.op)
        if node.op in BOX_BY_BOX:
            raise EngineError(
                f"node {node.name!r} ({node.op}): divides by a spread that vanishes on some image, where nothing "
                "is guaranteed, so no classifier may hold it; goodcert.bounds.interval_outputs bounds single boxes"
            )
        if keeps is None or len(own) != 1 or not keeps(node, constants, *own):
            raise _coupled(node)


def check_values(admitted: AdmittedGraph, seed: int = 0) -> None:
    """At random points and boxes of three images, in every value: each image once more with both others changed.
    A row that differs then has seen one of these."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, *admitted.shapes[admitted.graph.input])
    for reach in (0.0, 0.1, 0.5):
        first, other = (_box(torch.rand(shape, generator=generator), reach) for _ in range(2))
        runs = [admitted.program.trace(boxes) for boxes in (first, *(_with_row(other, first, i) for i in (0, 1)))]
        for one, two, row in ((0, 1, 0), (0, 2, 1), (1, 2, 2)):  # the only row that these two have in common
            for node in admitted.graph.nodes:
                ends = zip(runs[one][node.output], runs[two][node.output], strict=True)
                if not all(_same(a, b, row) for a, b in ends):
                    raise _coupled(node)


def _with_row(boxes: Interval, other: Interval, row: int) -> Interval:
    """The boxes, one of them replaced."""
    mixed = Interval(*(end.clone() for end in boxes))
    for end, replacement in zip(mixed, other, strict=True):
        end[row] = replacement[row]
    return mixed


def _same(before: torch.Tensor, after: torch.Tensor, row: int) -> bool:
    """Whether there is a row an image, and this one has the same bits (NaN, where no value is, included)."""
    if before.shape[:1] != (3,) or before.shape != after.shape:
        return False
    return torch.equal(before[row].nan_to_num(0), after[row].nan_to_num(0))


def _box(centre: torch.Tensor, reach: float) -> Interval:
    return Interval((centre - reach).clamp(0, 1), (centre + reach).clamp(0, 1))


def _coupled(node: Node) -> EngineError:
    return EngineError(f"node {node.name!r} ({node.op}) couples the images of a batch, expected none to")


# --- what each operator does to the first axis --------------------------------------------------------


def _always(node: Node, inputs: Constants, rank: int) -> bool:
    return True


def _broadcasts(node: Node, inputs: Constants, rank: int) -> bool:
    """Constants must be the same for every row."""
    return all(c is None or c.ndim < rank or (c.ndim == rank and c.shape[0] == 1) for c in inputs)


def _along(default: int) -> Keeps:
    return lambda node, inputs, rank: node.attributes.get("axis", default) % rank != 0


def _reduces(node: Node, inputs: Constants, rank: int) -> bool:
    axes = reductions.axes_of(node, inputs)
    return axes is not None and all(axis % rank != 0 for axis in axes)


def _squeezes(node: Node, inputs: Constants, rank: int) -> bool:
    axes = movement.axes_of(node, inputs)
    return axes is not None and all(axis % rank != 0 for axis in axes)


def _unsqueezes(node: Node, inputs: Constants, rank: int) -> bool:
    axes = movement.axes_of(node, inputs) or []
    return all(axis % (rank + len(axes)) != 0 for axis in axes)


def _transposes(node: Node, inputs: Constants, rank: int) -> bool:
    return bool(next(iter(node.attributes.get("perm", [-1]))) == 0)


def _slices(node: Node, inputs: Constants, rank: int) -> bool:
    axes = integers(node, inputs, 3) or node.attributes.get("axes")
    return axes is not None and all(axis % rank != 0 for axis in axes)


def _pads(node: Node, inputs: Constants, rank: int) -> bool:
    pads, axes = integers(node, inputs, 1) or list(node.attributes.get("pads", [])), integers(node, inputs, 3)
    half = len(pads) // 2
    padded = [
        axis % rank for i, axis in enumerate(range(half) if axes is None else axes) if pads[i] or pads[half + i]
    ]
    return 0 not in padded


def _repeats(node: Node, inputs: Constants, rank: int) -> bool:
    """Tile's repeats, Expand's shape: the batch itself once, and no axis before it."""
    sizes = integers(node, inputs, 1) or []
    return len(sizes) < rank or (len(sizes) == rank and sizes[0] == 1)


def _resizes(node: Node, inputs: Constants, rank: int) -> bool:
    """Along the batch by the scale 1, or not at all."""
    if 0 not in [axis % rank for axis in node.attributes.get("axes", range(rank))]:
        return True
    # Resize names a region before its scales since opset 11.
    scales = inputs[2] if len(inputs) > 2 else inputs[1] if len(inputs) > 1 else None
    given = node.attributes.get("scales") or ([] if scales is None else scales.tolist())
    return "axes" not in node.attributes and len(given) == rank and given[0] == 1


def _dense(node: Node, inputs: Constants, rank: int) -> bool:
    """Images in rows, weights on the right, and a bias that is no image."""
    weight = inputs[1]
    own_bias = len(inputs) < 3 or not node.inputs[2] or inputs[2] is not None
    rows = inputs[0] is None and own_bias and not node.attributes.get("transA", 0)
    return rows and rank >= 2 and weight is not None and weight.ndim == 2


KEEPS: Mapping[str, Keeps] = {
    **dict.fromkeys((
        "Abs", "AveragePool", "BatchNormalization", "Ceil", "Celu", "Conv", "ConvTranspose", "DepthToSpace", "Elu",
        "Erf", "Exp", "Floor", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "HardSwish",
        "Identity", "LRN", "LeakyRelu", "Log", "MaxPool", "Mish", "Neg", "Reciprocal", "Relu", "Reshape", "Round",
        "Selu", "Sigmoid", "Sign", "Softplus", "Softsign", "SpaceToDepth", "Sqrt", "Swish", "Tanh",
        "ThresholdedRelu",
    ), _always),
    **dict.fromkeys((
        "Add", "Clip", "Div", "Max", "Mean", "Min", "Mul", "Pow", "PRelu", "Sub", "Sum", "Where",
    ), _broadcasts),
    **dict.fromkeys((
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "ReduceSumSquare",
    ), _reduces),
    "Concat": _along(1), "Gather": _along(0), "LogSoftmax": _along(-1), "RMSNormalization": _along(-1),
    "Resize": _resizes, "Upsample": _resizes, "Softmax": _along(-1), "Split": _along(0),
    "Expand": _repeats, "Tile": _repeats,
    "Flatten": lambda node, inputs, rank: node.attributes.get("axis", 1) % rank == 1,
    "Gemm": _dense, "MatMul": _dense,
    "Pad": _pads, "Slice": _slices, "Squeeze": _squeezes, "Transpose": _transposes, "Unsqueeze": _unsqueezes,
}  # fmt: skip
"""Operators that classifiers may hold."""

BOX_BY_BOX = frozenset({"GroupNormalization", "InstanceNormalization", "LayerNormalization"})
"""Operators that are bounded on small boxes only, where the spread of their input stays away from 0: on all images
together, which a classifier must be admitted for, it does not."""
