"""From a model file to an engine that has been checked, or to the reason why not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from goodcert.bounds import Unsupported
from goodcert.bounds.admission import pixel_cube, undefined, within_range
from goodcert.bounds.ball import Ball
from goodcert.bounds.classifier import peel_softmax
from goodcert.bounds.confidence import MAX_CLASSES
from goodcert.bounds.graph import Graph, sums_branches
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT, FLOAT32
from goodcert.bounds.writer import write_graph
from goodcert.engine import canary, rows, selfcheck
from goodcert.engine.device import resolve
from goodcert.engine.eager import EagerMargins
from goodcert.engine.engine import Engine, Evaluation
from goodcert.engine.errors import EngineError
from goodcert.engine.onnx_engine import OnnxEngine
from goodcert.engine.prediction import Predictor
from goodcert.engine.tighter import Tighten, Tighter

_NOTHING = "some activation could overflow float32, so nothing is guaranteed by any method"


def compile(  # noqa: A001  the word of the field, always read with its module: engine.compile
    model: str | Path | onnx.ModelProto, device: str = "cpu", threads: int | None = None
) -> Engine:
    """Make a classifier ready to certify on `device`: `auto`, `cpu` or `cuda`.

    threads: CPU threads of ONNX Runtime, which predicts, and on the CPU bounds; None for one per core.
    Raises EngineError, by node and operator, for a model that cannot be bounded, and for a device whose
    kernels are not faithful.
    """
    target = resolve(device)
    graph = _read(model)
    shape, classes = _classifier(graph)
    predictor = _predictor(graph, threads)
    canary.check_prediction(graph, threads, canary.BATCHES)
    if _admitted(graph):
        evaluate, tighten = _evaluate(graph, predictor, target, threads), _tighter(graph, target)
    else:
        evaluate, tighten = partial(_beside, predictor, partial(_nothing_guaranteed, classes)), _NOTHING
    engine = Engine(predictor, evaluate, classes, shape, target.type, tighten)
    selfcheck.check(engine)
    return engine


def _read(model: str | Path | onnx.ModelProto) -> Graph:
    try:
        return peel_softmax(read_graph(model if isinstance(model, onnx.ModelProto) else _load(Path(model))))
    except Unsupported as error:
        raise EngineError(str(error)) from error


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load_model_from_string(path.read_bytes())  # which never reads external data
    except OSError:
        raise
    except Exception as error:  # protobuf's decode errors have no common public class
        raise EngineError(f"{path.name}: not an ONNX file") from error


def _classifier(graph: Graph) -> tuple[tuple[int, int, int], int]:
    """((C, H, W), K), after making sure that the graph is a classifier that treats images one by one."""
    if len(graph.outputs) != 1:
        raise EngineError(f"outputs {list(graph.outputs)}, expected exactly one")
    if len(graph.input_shape) != 4 or not all(graph.input_shape[1:]):
        raise EngineError(f"input shape {graph.input_shape}, expected (N, C, H, W) with C, H and W fixed")
    _, channels, height, width = (size or 0 for size in graph.input_shape)
    shape = (channels, height, width)
    two, three = (_row_shapes(graph, shape, batch) for batch in (2, 3))
    for node in graph.nodes:
        if two[node.output] is None or two[node.output] != three[node.output]:
            raise EngineError(f"node {node.name!r} ({node.op}) couples the images of a batch, expected none to")
    output = two[graph.outputs[0]] or ()
    if len(output) != 1 or not 2 <= output[0] <= MAX_CLASSES:
        raise EngineError(f"output shape {('N', *output)}, expected (N, K) with K from 2 to {MAX_CLASSES}")
    rows.check(graph, shape)
    return shape, output[0]


def _row_shapes(graph: Graph, shape: tuple[int, int, int], batch: int) -> dict[str, tuple[int, ...] | None]:
    """The shape of every value without its first axis; None where that axis is not the batch.

    A value whose rows number N at every N, each of one shape, has a row per image; `rows` makes sure that none
    sees another.
    """
    images = torch.zeros(batch, *shape)
    try:
        values = prepare(graph, EXACT).trace(Interval(images, images))
    except Unsupported as error:
        raise EngineError(str(error)) from error
    except RuntimeError as error:
        raise EngineError(f"the graph does not run on a batch of {batch} images: {error}") from error
    shapes = {name: tuple(x.lower.shape) for name, x in values.items()}
    return {name: size[1:] if size[:1] == (batch,) else None for name, size in shapes.items()}


def _predictor(graph: Graph, threads: int | None) -> Predictor:
    try:
        return Predictor(write_graph(graph), threads, sums_branches=sums_branches(graph))
    except Exception as error:
        raise EngineError(f"ONNX Runtime does not load the graph: {error}") from error


def _admitted(graph: Graph) -> bool:
    """Whether the proofs hold for every image. Raises EngineError for a node without a value for some."""
    program = prepare(graph, FLOAT32)
    values = program.trace(pixel_cube(graph))
    if node := undefined(program, values):
        raise EngineError(f"node {node.name!r} ({node.op}): has no value for some images")
    return within_range(graph, values)


def _evaluate(
    graph: Graph, predictor: Predictor, device: torch.device, threads: int | None
) -> Callable[[Ball], Evaluation]:
    if device.type == "cpu":
        return OnnxEngine(graph, threads)
    canary.check_bounds(graph.to(device), device, range(16, 65, 16))
    return partial(_beside, predictor, EagerMargins(graph, device))


def _beside(predictor: Predictor, margins: Callable[[Ball], NDArray[np.float64]], ball: Ball) -> Evaluation:
    return Evaluation(predictor(ball.point), margins(ball))


def _tighter(graph: Graph, device: torch.device) -> Tighten | str:
    """Linear bounds, or why there are none: such a graph is served all the same."""
    try:
        return Tighter(graph, device)
    except Unsupported as error:
        return str(error)


def _nothing_guaranteed(classes: int, ball: Ball) -> NDArray[np.float64]:
    """For a model that could overflow float32 somewhere in the pixel cube."""
    margins = np.where(np.eye(classes, dtype=bool), 0.0, np.inf)
    return np.broadcast_to(margins, (len(ball.point), classes, classes))
