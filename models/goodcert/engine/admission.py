"""From a model to the graph that will be bounded, or to the reason why it is refused, by node and operator.

Cheap beside compiling, and it runs nothing but what it has understood: this is what an untrusted file goes through
in a process of its own (sandbox/child.py) before it is loaded.
"""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
import torch

from goodcert.artifact import Metadata
from goodcert.bounds import Unsupported
from goodcert.bounds.ball import parse_epsilon
from goodcert.bounds.classifier import peel_softmax
from goodcert.bounds.confidence import MAX_CLASSES
from goodcert.bounds.graph import Graph
from goodcert.bounds.interpreter import Program
from goodcert.bounds.interval import Interval
from goodcert.bounds.joint import head
from goodcert.bounds.reader import read_both
from goodcert.bounds.validation import check_inference
from goodcert.engine.checks import batch_independence
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.errors import EngineError

MAX_ELEMENTS = 2**24
"""The most numbers that an image may become inside a graph: 64 MiB an image, 4 GiB a batch."""


@dataclass(frozen=True)
class Classifier:
    """A graph that treats images (C, H, W) = `shape` one by one and gives each `classes` logits.

    file: the model as it was given; written: its graph, layer by layer, before weights were folded; served: with
    these folded. bounded: whether the proofs hold for every image; where they do not, every bound is 1. heads: of
    a joint model, what the log-odds that its bound comes from are called in the file; none for any other.
    """

    file: onnx.ModelProto
    written: AdmittedGraph
    served: AdmittedGraph
    shape: tuple[int, int, int]
    classes: int
    bounded: bool
    heads: frozenset[str]

    @property
    def folded(self) -> bool:
        """Whether weights are served that are not the file's."""
        return _folded(self.written, self.served)

    @property
    def graph(self) -> Graph:
        """What is served: with weights folded, and without a last Softmax."""
        return self.served.graph


def admit(model: str | Path | onnx.ModelProto) -> Classifier:
    """Raises EngineError for whatever cannot be bounded, and OSError for a file that cannot be read."""
    proto = model if isinstance(model, onnx.ModelProto) else _load(Path(model))
    written, served = _read(proto)
    shape, classes = _classifier(served)
    bounded = served.bounded and (not _folded(written, served) or written.bounded)
    try:
        check_inference(proto)
    except Unsupported as error:
        raise EngineError(str(error)) from error
    return Classifier(proto, written, served, shape, classes, bounded, _heads(proto, served.graph))


def require_agreement(
    metadata: Metadata, shape: tuple[int, int, int], classes: int, heads: frozenset[str]
) -> None:
    """Raises EngineError unless what a file says about itself is what its graph does."""
    said, is_so = (metadata.input_shape, len(metadata.labels)), (tuple(shape), classes)
    if said != is_so:
        raise EngineError(f"the metadata gives input (C, H, W) and classes {said}, the graph has {is_so}")
    if metadata.head and metadata.head not in heads:
        raise EngineError(
            f"the metadata gives the head {metadata.head!r}, the graph has {sorted(heads) or 'none'}"
        )
    try:
        parse_epsilon(metadata.epsilon)
    except ValueError as error:
        raise EngineError(f"the metadata's epsilon: {error}") from error


def _read(model: onnx.ModelProto) -> tuple[AdmittedGraph, AdmittedGraph]:
    """(written, served), as in `Classifier`. Raises EngineError for what cannot be read."""
    try:
        written, served = read_both(model)
        return AdmittedGraph(written), AdmittedGraph(peel_softmax(served))
    except Unsupported as error:
        raise EngineError(str(error)) from error


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(path.read_bytes())  # which never reads external data
    except OSError:
        raise
    except Exception as error:  # protobuf's decode errors have no common public class
        raise EngineError(f"{path.name}: not an ONNX file") from error


def _classifier(admitted: AdmittedGraph) -> tuple[tuple[int, int, int], int]:
    """((C, H, W), K), after making sure that the graph is a classifier that treats images one by one."""
    graph = admitted.graph
    if len(graph.outputs) != 1:
        raise EngineError(f"outputs {list(graph.outputs)}, expected exactly one")
    if len(graph.input_shape) != 4 or not all(graph.input_shape[1:]):
        raise EngineError(f"input shape {graph.input_shape}, expected (N, C, H, W) with C, H and W fixed")
    _, channels, height, width = (size or 0 for size in graph.input_shape)
    shape = (channels, height, width)
    _require_size(shape, f"input {graph.input!r}")
    two, three = (_row_shapes(admitted.program, shape, batch) for batch in (2, 3))
    for node in graph.nodes:
        row = two[node.output]
        if row is None or row != three[node.output]:
            raise EngineError(f"node {node.name!r} ({node.op}) couples the images of a batch, expected none to")
        _require_size(row, f"node {node.name!r} ({node.op})")
    output = two[graph.outputs[0]] or ()
    if len(output) != 1 or not 2 <= output[0] <= MAX_CLASSES:
        raise EngineError(f"output shape {('N', *output)}, expected (N, K) with K from 2 to {MAX_CLASSES}")
    batch_independence.check(admitted)
    return shape, output[0]


def _require_size(shape: tuple[int, ...], where: str) -> None:
    if min(shape, default=1) < 0 or prod(shape) > MAX_ELEMENTS:
        raise EngineError(f"{where}: shape {('N', *shape)}, expected at most {MAX_ELEMENTS} numbers an image")


def _row_shapes(program: Program, shape: tuple[int, int, int], batch: int) -> dict[str, tuple[int, ...] | None]:
    """The shape of every value without its first axis; None where that axis is not the batch.

    A value whose rows number N at every N, each of one shape, has a row per image; `rows` makes sure that none
    sees another.
    """
    images = torch.zeros(batch, *shape)
    try:
        values = program.trace(Interval(images, images))
    except Unsupported as error:
        raise EngineError(str(error)) from error
    except RuntimeError as error:
        raise EngineError(f"the graph does not run on a batch of {batch} images: {error}") from error
    shapes = {name: tuple(x.lower.shape) for name, x in values.items()}
    return {name: size[1:] if size[:1] == (batch,) else None for name, size in shapes.items()}


def _heads(model: onnx.ModelProto, graph: Graph) -> frozenset[str]:
    """The name of the log-odds in the graph, and those behind an Identity, which a graph is read without."""
    found = head(graph)
    names = set(found.discriminator.outputs) if found else set()
    for node in model.graph.node:
        if node.op_type == "Identity" and names.intersection(node.input):
            names.update(node.output)
    return frozenset(names)


def _folded(written: AdmittedGraph, served: AdmittedGraph) -> bool:
    return written.graph.constants.keys() != served.graph.constants.keys()
