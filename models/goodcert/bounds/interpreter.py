"""The walk: an environment of intervals by name, and one loop over the nodes."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rules import Transform, transform_of


@dataclass(frozen=True)
class Step:
    """A node made ready: its transform, the varying inputs it reads, the values nobody reads after it."""

    transform: Transform
    inputs: tuple[str, ...]
    output: str
    last_uses: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A graph with |W| and all margins computed; call it with the interval of the input."""

    input: str
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]

    def __call__(self, x: Interval) -> tuple[Interval, ...]:
        """The intervals of the outputs, in the graph's order."""
        values = {self.input: x}
        for step in self.steps:
            values[step.output] = step.transform(*(values[name] for name in step.inputs))
            for name in step.last_uses:
                del values[name]
        return tuple(values[name] for name in self.outputs)

    def trace(self, x: Interval) -> dict[str, Interval]:
        """The intervals of every value, by name: for looking into a graph, not for speed."""
        values = {self.input: x}
        for step in self.steps:
            values[step.output] = step.transform(*(values[name] for name in step.inputs))
        return values


def prepare(graph: Graph, rounding: Rounding) -> Program:
    """Apply every rule to its node. Raises Unsupported, by node and operator, for one without a rule."""
    varying = {graph.input}
    last_use = _last_uses(graph)
    steps = []
    for position, node in enumerate(graph.nodes):
        inputs = tuple(name for name in node.inputs if name in varying)
        transform = transform_of(node, _constants(node, graph.constants, varying), rounding)
        dead = tuple(name for name in dict.fromkeys(inputs) if last_use[name] == position)
        steps.append(Step(transform, inputs, node.output, dead))
        varying.add(node.output)
    return Program(graph.input, graph.outputs, tuple(steps))


def _constants(node: Node, constants: Mapping[str, Tensor], varying: set[str]) -> tuple[Tensor | None, ...]:
    unknown = [name for name in node.inputs if name and name not in constants and name not in varying]
    if unknown:
        raise Unsupported(f"node {node.name!r} ({node.op}): reads {unknown}, which nothing before it defines")
    return tuple(constants.get(name) for name in node.inputs)


def _last_uses(graph: Graph) -> dict[str, int]:
    uses = {name: position for position, node in enumerate(graph.nodes) for name in node.inputs}
    return uses | dict.fromkeys(graph.outputs, len(graph.nodes))
