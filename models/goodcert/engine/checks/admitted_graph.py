"""The graph of a classifier with all that checks want to know of it, each found out once and shared by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from goodcert.bounds.admission import pixel_cube, undefined, within_range
from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph
from goodcert.bounds.interpreter import Program, prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import FLOAT32
from goodcert.engine.errors import EngineError


@dataclass(frozen=True)
class AdmittedGraph:
    """On the CPU. Its properties raise EngineError, by node and operator, where a rule does not take a node."""

    graph: Graph

    @cached_property
    def program(self) -> Program:
        """Every rule, ready for its node, for float32 evaluations."""
        try:
            return prepare(self.graph, FLOAT32)
        except Unsupported as error:
            raise EngineError(str(error)) from error

    @cached_property
    def reachable(self) -> Mapping[str, Interval]:
        """The box of every value, by name, over all images of the pixel cube [0, 1]^d; each (1, ...)."""
        try:
            return self.program.trace(pixel_cube(self.graph))
        except Unsupported as error:
            raise EngineError(str(error)) from error
        except RuntimeError as error:
            raise EngineError(f"the graph does not run on an image: {error}") from error

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of every value for one image, without the batch."""
        return {name: tuple(x.lower.shape[1:]) for name, x in self.reachable.items()}

    @cached_property
    def bounded(self) -> bool:
        """Whether the proofs hold for every image. Raises EngineError for a node without a value for some."""
        if node := undefined(self.program, self.reachable):
            raise EngineError(f"node {node.name!r} ({node.op}): has no value for some images")
        return within_range(self.graph, self.reachable)
