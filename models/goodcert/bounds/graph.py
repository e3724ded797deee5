"""A feed-forward graph as plain values: what the reader makes of an ONNX file and the interpreter walks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")

Shape = tuple[int | None, ...]
"""None where an axis is free or unknown."""


def fits(stated: Shape, given: Sequence[int]) -> bool:
    return len(stated) == len(given) and all(s in (None, g) for s, g in zip(stated, given, strict=True))


@dataclass(frozen=True)
class Node:
    """One operator. inputs: names, "" for an optional one left out. output: the one name it defines (a Split with
    several is a node for each of them).

    roundings: how many more roundings may lie on a path through the node than its operator has by itself, for what
    a pass folded into it and for what a runtime may fuse it with. size: float64 (outputs,), what stands for |b| in
    the margin of an affine node whose bias was folded from several parts; None where |b| is right.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    roundings: int = 0
    size: Tensor | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which every name is defined before it is used.

    input: name of the one input that varies; input_shape: its shape, None where it is free.
    outputs: names in the file's order. constants: everything that does not vary, by name.
    shapes: what shape inference and the file say of values. opset: the version of the standard operators whose
    meaning the nodes have. home: the device of a graph that has no constants to be somewhere.
    """

    input: str
    input_shape: Shape
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    opset: int = 17
    home: torch.device = CPU

    @property
    def ranks(self) -> dict[str, int]:
        """How many axes a value has, where that is known."""
        return {name: len(sizes) for name, sizes in self.shapes.items()}

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return next((value.device for value in self.constants.values()), self.home)

    def fresh(self, name: str) -> str:
        """`name`, or a longer one where it is taken."""
        taken = {self.input, *self.constants, *(node.output for node in self.nodes)}
        while name in taken:
            name += "'"
        return name

    def users(self, name: str) -> int:
        """How often a value is read, by nodes or as an output of the graph."""
        return sum(node.inputs.count(name) for node in self.nodes) + self.outputs.count(name)

    def producer(self, name: str) -> Node | None:
        """The node that defines `name`; None for the input and for constants."""
        return next((node for node in self.nodes if node.output == name), None)

    def rewire(self, old: str, new: str) -> "Graph":
        """The same graph with every reading of `old` reading `new` instead."""
        nodes = tuple(
            replace(n, inputs=tuple(new if name == old else name for name in n.inputs)) for n in self.nodes
        )
        return replace(self, nodes=nodes, outputs=tuple(new if name == old else name for name in self.outputs))

    def to(self, device: torch.device) -> "Graph":
        """The same graph with its constants on `device`."""
        constants = {name: value.to(device) for name, value in self.constants.items()}
        return replace(self, constants=constants, home=device)

    def in_dtype(self, dtype: torch.dtype) -> "Graph":
        """The same graph with its floating-point constants in `dtype`."""
        constants = {n: x.to(dtype) if x.is_floating_point() else x for n, x in self.constants.items()}
        return replace(self, constants=constants)

    def without(self, node: Node) -> "Graph":
        return replace(self, nodes=tuple(n for n in self.nodes if n is not node))

    def pruned(self) -> "Graph":
        """Without nodes and constants that no output depends on."""
        needed, nodes = set(self.outputs), []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        constants = {name: value for name, value in self.constants.items() if name in needed}
        return replace(self, nodes=tuple(reversed(nodes)), constants=constants)


def sums_branches(graph: Graph) -> bool:
    """Whether some node adds or subtracts two values that both vary."""
    return any(
        node.op in ("Add", "Sub", "Sum") and sum(name not in graph.constants for name in node.inputs) > 1
        for node in graph.nodes
    )
