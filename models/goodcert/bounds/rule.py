"""The type of a rule (a transform from intervals to an interval for one node), and how rules refuse."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding

Transform = Callable[..., Interval]
"""From the intervals of the inputs that vary, in order, to the interval of the output."""

Constants = tuple[Tensor | None, ...]
"""A node's inputs in order; None where the input varies, or where an optional one is left out."""

Make = Callable[[Node, Constants, Rounding], Transform]


@dataclass(frozen=True)
class Rule:
    """make: builds the transform. attributes: every attribute the rule understands. varies: which operands
    may vary, the `first` alone or `any`; all others must be constants. partial: whether there are
    inputs without a defined output (its transform gives NaN for boxes that hold one)."""

    make: Make
    attributes: frozenset[str] = frozenset()
    varies: Literal["first", "any"] = "first"
    partial: bool = False


def monotone(function: Callable[[Tensor], Tensor]) -> Transform:
    """For a function that never decreases and never rounds."""
    return lambda x: Interval(function(x.lower), function(x.upper))


def picked(function: Callable[[Tensor], Tensor]) -> Transform:
    """The same for a function whose results are all among its inputs: what is not negative stays so."""
    return lambda x: type(x)(function(x.lower), function(x.upper))


def exact(function: Callable[[Tensor], Tensor]) -> Make:
    """The rule of an operator without parameters that never decreases and never rounds."""
    return lambda node, inputs, rounding: monotone(function)


def padded(inputs: Constants, length: int) -> Constants:
    """The inputs with those that may be left out spelled as None."""
    return inputs + (None,) * (length - len(inputs))


def constant_of(node: Node, value: Tensor | None) -> Tensor:
    if value is None:
        raise unsupported(node, "an operand that varies stands where a constant is expected")
    return value


def optional(node: Node, inputs: Constants, position: int) -> Tensor | None:
    """The constant at `position`; None where it is left out. Refuses one that varies."""
    if position >= len(node.inputs) or not node.inputs[position]:
        return None
    return constant_of(node, inputs[position])


def integers(node: Node, inputs: Constants, position: int) -> list[int] | None:
    """The constant whole numbers at `position`; None where they are left out."""
    value = optional(node, inputs, position)
    return None if value is None else [int(v) for v in value.reshape(-1).tolist()]


def varying(node: Node, inputs: Constants) -> list[int]:
    """The positions of the inputs that vary."""
    return [i for i, (name, value) in enumerate(zip(node.inputs, inputs, strict=False)) if name and value is None]


def number(node: Node, name: str, default: float) -> float:
    """A float attribute, which ONNX stores in float32."""
    return float(node.attributes.get(name, default))


def pads_of(attributes: Mapping[str, Any], dims: int) -> tuple[list[int], list[int]]:
    pads = list(attributes.get("pads", [0] * 2 * dims))
    return pads[:dims], pads[dims:]


def pad_order(begin: list[int], end: list[int]) -> list[int]:
    """F.pad lists the last dimension first."""
    return [p for pair in zip(reversed(begin), reversed(end), strict=True) for p in pair]


def require(node: Node, holds: bool, expected: str) -> None:
    if not holds:
        raise unsupported(node, f"expected {expected}")


def unsupported(node: Node, reason: str) -> Unsupported:
    return Unsupported(f"node {node.name!r} ({node.op}): {reason}")
