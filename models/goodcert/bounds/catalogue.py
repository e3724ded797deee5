"""What every rule does, in one line each: the table that `goodcert inspect --operators` and the documents show."""

from collections.abc import Mapping
from typing import NamedTuple

from goodcert.bounds.rules import RULES


class Entry(NamedTuple):
    """A row of the table. varies: which operands may depend on the input."""

    operator: str
    does: str
    varies: str
    attributes: tuple[str, ...]


def catalogue() -> list[Entry]:
    """All operators that have a rule, by name."""
    return [
        Entry(op, DOES[op], VARIES[rule.varies], tuple(sorted(rule.attributes)))
        for op, rule in sorted(RULES.items())
    ]


VARIES = {"first": "the first", "any": "any"}

_ENDS = "increasing: both ends through the function"
_VALLEY = "falls, then rises: the larger end, and the lowest point between"
_MOVED = "moves values: the ends move alike"
_INTERVALS = "interval arithmetic, one rounding"
_NORM = "deviation interval over a Lipschitz bound of the spread; small boxes only"

DOES: Mapping[str, str] = {
    **dict.fromkeys((
        "Celu", "Elu", "Erf", "Exp", "Log", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh",
    ), f"{_ENDS}, outward by its error"),
    **dict.fromkeys(("Ceil", "Floor", "Relu", "Round", "Sign", "ThresholdedRelu", "Clip"), f"{_ENDS}, exact"),
    **dict.fromkeys(("Gelu", "HardSwish", "Mish", "Swish"), f"{_VALLEY}, outward by its error"),
    **dict.fromkeys((
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    ), _MOVED),
    **dict.fromkeys(("Add", "Div", "Mul", "Sub", "Reciprocal"), _INTERVALS),
    **dict.fromkeys(("GroupNormalization", "InstanceNormalization", "LayerNormalization"), _NORM),
    **dict.fromkeys(("Max", "Min"), "exact on both ends"),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"), "extremes of the ends, exact"),
    **dict.fromkeys(("Conv", "ConvTranspose"), "centre and radius: W mu + b and |W| r"),
    **dict.fromkeys(("Gemm", "MatMul"), "centre and radius: W mu + b and |W| r; or products of two that vary"),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), "centre and radius, with weights 1/k"),
    **dict.fromkeys(("ReduceMean", "ReduceSum", "Sum", "Mean"), "sums of the ends, outward by their rounding"),
    "Abs": "the nearest and the farthest from 0, exact",
    "BatchNormalization": "centre and radius, channel by channel; folded into the layer before where it can be",
    "HardSigmoid": "a line between the ends, then exact limits",
    "LRN": "extremes of x / (bias + a R + a x^2)^beta: at ends, or at its one peak",
    "LeakyRelu": "the extremes of two pieces, at ends or at 0",
    "LogSoftmax": "logarithms of the shares that Softmax bounds",
    "Neg": "the ends change places, exact",
    "PRelu": "the extremes of two pieces, at ends or at 0",
    "Pow": "one constant exponent: a valley where it is even, else increasing",
    "RMSNormalization": "x over a Lipschitz bound of the root mean square",
    "ReduceL1": "sums of absolute values",
    "ReduceL2": "roots of sums of squares",
    "ReduceLogSum": "logarithms of sums that are positive",
    "ReduceLogSumExp": "increasing in every value: both ends through it",
    "ReduceProd": "partial products of ends",
    "ReduceSumSquare": "sums of squares",
    "Resize": "nearest: the value, or two where rounding decides; linear: convex combinations of the ends",
    "Softmax": "a share grows with its own value and falls with all others",
    "Upsample": "nearest, or convex combinations of the ends",
    "Where": "a constant condition: moves values",
}  # fmt: skip
