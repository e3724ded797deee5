"""What the values of a model file are: by which rules, in one run, and within which range."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from goodcert.bounds import Unsupported
from goodcert.bounds.graph import Graph
from goodcert.bounds.interpreter import Program, Step
from goodcert.bounds.interval import Interval
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.checks.witnesses import KINDS, witnesses
from goodcert.engine.errors import EngineError
from goodcert.engine.sessions import session

Array = NDArray[Any]


@dataclass
class FileValues:
    """The values of a file by name: the `steps` that make those that vary, `same` for those that are another
    unchanged, what was `recorded` in one run, what is `reachable` from the pixel cube, what is `fed` to nodes that
    read them, and the `boxes` of what the rules then say."""

    program: Program
    same: Mapping[str, str]
    recorded: Mapping[str, Array]
    reachable: Mapping[str, Interval]
    steps: Mapping[str, Step]
    fed: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    boxes: dict[tuple[str, frozenset[str], int], Interval] = field(default_factory=dict)

    @classmethod
    def of(cls, model: onnx.ModelProto, admitted: AdmittedGraph) -> "FileValues":
        graph, program, reachable = admitted.graph, admitted.program, admitted.reachable
        rows = _rows(graph, reachable)
        steps = {step.output: step for step in program.steps}
        recorded = _recorded(model, rows, graph)
        _check_constants(graph, recorded)
        same = _unchanged(model, {graph.input, *steps}) | _computed_twice(program, graph)
        return cls(program, same, recorded, reachable, steps)

    def varies(self, name: str) -> str | None:
        """What a value is called among those that vary; None where it does not, or is not one of the file's."""
        while name in self.same:
            name = self.same[name]
        return name if name == self.program.input or name in self.steps else None

    def activated(self, name: str, activation: str) -> str | None:
        """The value itself where no activation is named, or it is one's; else what the activation makes of it;
        None where the file has none such."""
        if not activation or (name in self.steps and self.steps[name].node.op == activation):
            return name
        made = [s.output for s in self.steps.values() if s.inputs == (name,) and s.node.op == activation]
        return made[0] if len(made) == 1 else None

    @property
    def rounds(self) -> int:
        """Runs until every kind of witness had its row."""
        return -(-KINDS // len(self.recorded[self.program.input]))

    def feed(self, name: str, turn: int) -> NDArray[np.float32]:
        """(N, ...) what the value is taken to be in this round."""
        if name not in self.fed:
            shape, box = self.recorded[name].shape, self.reachable[name]
            if shape[1:] != tuple(box.lower.shape[1:]) or 0 in shape:
                raise EngineError(
                    f"value {name!r}: ONNX Runtime {onnxruntime.__version__} gives it shape {shape}, its rule "
                    f"{('N', *box.lower.shape[1:])}"
                )
            self.fed[name] = witnesses(shape, self.rounds, box, seed=len(self.fed))
        return self.fed[name][turn]

    def box(self, name: str, reads: Iterable[str], turn: int) -> Interval:
        """What the rules of the file's nodes between them say of the value `name`, from the values `reads` as they
        are fed in this round; once for all levels of optimisation. Raises EngineError where there is no way from
        these to it."""
        key = (name, frozenset(reads), turn)
        if key not in self.boxes:
            self.boxes[key] = self._box(name, reads, turn)
        return self.boxes[key]

    def _box(self, name: str, reads: Iterable[str], turn: int) -> Interval:
        points = {read: torch.from_numpy(self.feed(read, turn)) for read in reads}
        known = {**self.program.fixed, **{read: Interval(x, x) for read, x in points.items()}}
        waiting = [] if name in known else [name]
        while waiting:
            step = self.steps.get(waiting[-1])
            if step is None:
                raise EngineError(
                    f"value {name!r}: made of {waiting[-1]!r}, which the runtime does not read for it"
                )
            inputs = [read if read in known else self.same.get(read, read) for read in step.inputs]
            missing = [read for read in inputs if read not in known]
            if missing:
                waiting += missing
                continue
            try:
                known[waiting.pop()] = step.transform(*(known[read] for read in inputs))
            except (Unsupported, RuntimeError, IndexError, ValueError) as error:
                raise EngineError(
                    f"value {name!r}: its rule does not take what the runtime takes: {error}"
                ) from error
        return known[name]


def _rows(graph: Graph, reachable: Mapping[str, Interval]) -> int:
    """As many images as the file takes at once; where that is open, as there are kinds of witnesses, or as few as
    two where values are large."""
    if graph.input_shape[0] is not None:
        return graph.input_shape[0]
    total = sum(box.lower.numel() for box in reachable.values())
    return max(2, min(KINDS, 2**24 // max(total, 1)))


def _recorded(model: onnx.ModelProto, rows: int, graph: Graph) -> dict[str, Array]:
    """Every value of one run on random images, as the file is written."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    stated = {value.name for value in exposed.graph.output}
    names = [name for node in model.graph.node for name in node.output if name]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in stated)
    runtime = session(exposed.SerializeToString(), "none")
    shape = (rows, *(size or 1 for size in graph.input_shape[1:]))
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    outputs = [value.name for value in runtime.get_outputs()]
    try:
        values = runtime.run(outputs, {graph.input: images})
    except Exception as error:  # its errors have no common public class
        raise EngineError(f"ONNX Runtime {onnxruntime.__version__} does not run the file: {error}") from error
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {graph.input: images, **weights, **dict(zip(outputs, values, strict=True))}


def _check_constants(graph: Graph, recorded: Mapping[str, Array]) -> None:
    for name, value in graph.constants.items():
        ours, theirs = value.numpy(), recorded.get(name)
        if theirs is None:
            continue  # a shape that the reader made for one that is computed from the batch
        if ours.shape != theirs.shape or not np.array_equal(ours, theirs.astype(ours.dtype)):
            raise EngineError(
                f"constant {name!r}: ONNX Runtime {onnxruntime.__version__} computes it otherwise than it is read"
            )


def _computed_twice(program: Program, graph: Graph) -> dict[str, str]:
    """Names of values that are computed just as another before them: ONNX Runtime computes such once."""
    contents = {name: hashlib.sha256(repr((x.shape, x.dtype)).encode() + x.numpy().tobytes()).hexdigest()
                for name, x in graph.constants.items()}  # fmt: skip
    first, same = dict[str, str](), dict[str, str]()
    for step in program.steps:
        node = step.node
        reads = [contents.get(name, same.get(name, name)) for name in node.inputs]
        key = repr((node.op, reads, sorted(node.attributes.items())))
        found = first.setdefault(key, step.output)
        if found != step.output:
            same[step.output] = found
    return same


_PASSES_ON = ("Cast", "CastLike", "Dropout", "Identity")


def _unchanged(model: onnx.ModelProto, varying: Iterable[str]) -> dict[str, str]:
    """Names of values that are another, which the reader dropped."""
    varying, same = set(varying), dict[str, str]()
    for node in model.graph.node:
        if node.op_type in _PASSES_ON and node.output[0] not in varying:
            source = same.get(node.input[0], node.input[0])
            if source in varying:
                same[node.output[0]] = source
    return same
