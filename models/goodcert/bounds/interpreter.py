"""The interpreter: evaluates a graph on intervals, node by node, in an environment of values by name."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node, Shape, fits
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Transform, unsupported
from goodcert.bounds.rules import transform_of


@dataclass(frozen=True)
class Step:
    """A node made ready: its transform, the varying inputs it reads, the values nobody reads after it."""

    node: Node

    transform: Transform
    inputs: tuple[str, ...]
    output: str
    last_uses: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A graph with |W| and all margins computed; call it with the interval of the input.

    fixed: constants that are computed with like values that vary, as boxes of one point. shapes: what shape
    inference and the file say of values.
    """

    input: str
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    fixed: Mapping[str, Interval]
    shapes: Mapping[str, Shape]

    def __call__(self, x: Interval) -> tuple[Interval, ...]:
        """The intervals of the outputs, in the graph's order."""
        values = {self.input: x, **self.fixed}
        for step in self.steps:
            values[step.output] = step.transform(*(values[name] for name in step.inputs))
            for name in step.last_uses:
                del values[name]
        return tuple(values[name] for name in self.outputs)

    def trace(self, x: Interval) -> dict[str, Interval]:
        """The intervals of every value, by name: for looking into a graph, not for speed.

        Raises Unsupported where a rule gives another shape than `shapes` has: then tools read the file
        differently. A file that fixes its batch can be traced with another one; its shapes are not compared then.
        """
        shapes = self.shapes if fits(self.shapes.get(self.input, ()), x.lower.shape) else {}
        values = {self.input: x, **self.fixed}
        for step in self.steps:
            try:
                values[step.output] = step.transform(*(values[name] for name in step.inputs))
            except Unsupported:
                raise
            except (RuntimeError, IndexError, ValueError) as error:  # shapes that do not fit together
                raise RuntimeError(f"node {step.node.name!r} ({step.node.op}): {error}") from error
            _check_shape(step.node, values[step.output], shapes)
        return values


def _check_shape(node: Node, x: Interval, shapes: Mapping[str, Shape]) -> None:
    got, stated = tuple(x.lower.shape), shapes.get(node.output)
    if stated is not None and not fits(stated, got):
        raise unsupported(node, f"gives shape {got}, expected the {stated} of shape inference or of the file")


def prepare(graph: Graph, rounding: Rounding) -> Program:
    """Apply every rule to its node. Raises Unsupported, by node and operator, for one without a rule."""
    varying = {graph.input}
    fixed = {name: _point(graph, name) for name in graph.outputs if name in graph.constants}
    last_use = _last_uses(graph)
    steps = []
    for position, node in enumerate(graph.nodes):
        constants = _constants(node, graph.constants, varying)
        if node.inputs and not varying.intersection(node.inputs):
            # Computed from constants alone, it rounds like any other node: its first input becomes a box.
            fixed[node.inputs[0]] = _point(graph, node.inputs[0], f"node {node.name!r} ({node.op}): ")
            constants = tuple(
                None if n == node.inputs[0] else c for n, c in zip(node.inputs, constants, strict=True)
            )
        inputs = tuple(name for name, c in zip(node.inputs, constants, strict=True) if name and c is None)
        transform = transform_of(node, constants, rounding)
        dead = tuple(name for name in dict.fromkeys(inputs) if last_use[name] == position and name not in fixed)
        steps.append(Step(node, transform, inputs, node.output, dead))
        varying.add(node.output)
    undefined = [name for name in graph.outputs if name not in varying and name not in fixed]
    if undefined:
        raise Unsupported(f"outputs {undefined} are not computed by the graph, or are not float32")
    return Program(graph.input, graph.outputs, tuple(steps), fixed, graph.shapes)


def _point(graph: Graph, name: str, where: str = "") -> Interval:
    value = graph.constants[name]
    if not value.is_floating_point():
        raise Unsupported(f"{where}constant {name!r} is {value.dtype}, expected float32")
    return Interval(value, value)


def _constants(node: Node, constants: Mapping[str, Tensor], varying: set[str]) -> tuple[Tensor | None, ...]:
    unknown = [name for name in node.inputs if name and name not in constants and name not in varying]
    if unknown:
        raise Unsupported(f"node {node.name!r} ({node.op}): reads {unknown}, which nothing before it defines")
    return tuple(constants.get(name) for name in node.inputs)


def _last_uses(graph: Graph) -> dict[str, int]:
    uses = {name: position for position, node in enumerate(graph.nodes) for name in node.inputs}
    return uses | dict.fromkeys(graph.outputs, len(graph.nodes))
