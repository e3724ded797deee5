"""From a model file to an engine that has been checked, or to the reason why not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from goodcert.bounds import Unsupported
from goodcert.bounds.ball import Ball
from goodcert.bounds.graph import Graph, sums_branches
from goodcert.bounds.writer import write_graph
from goodcert.engine.admission import Classifier, admit
from goodcert.engine.checks import kernel_check, selfcheck, translation
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.crown_engine import CrownEngine, Tighten
from goodcert.engine.device import resolve
from goodcert.engine.engine import Engine, Evaluation
from goodcert.engine.errors import EngineError, Unfaithful
from goodcert.engine.onnx_engine import OnnxEngine
from goodcert.engine.prediction import Predictor
from goodcert.engine.remembered import Remembered
from goodcert.engine.torch_engine import TorchEngine

Margins = Callable[[], NDArray[np.float64]]
"""Gives margins (N, K, K) once they are computed."""

_NOTHING = "some activation could overflow float32, so nothing is guaranteed by any method"


def compile(  # noqa: A001  the word of the field, always read with its module: engine.compile
    model: str | Path | onnx.ModelProto,
    device: str = "cpu",
    threads: int | None = None,
    *,
    validate: bool = True,
    eager: bool = False,
    remember_in: Path | None = None,
) -> Engine:
    """Make a classifier ready to certify on `device`: `auto`, `cpu` or `cuda`. `auto` is CUDA where there is one
    whose kernels are faithful to this model, else the CPU.

    threads: CPU threads of ONNX Runtime, which predicts, and on the CPU bounds, and there of `crown`, which bounds
    an image in each, with PyTorch and in up to 128 MiB. None for one per core that the process may use. validate:
    hold the rules against what ONNX Runtime makes of the file. Without, a certificate may be wrong: it is there to
    show what the check is for. eager: let PyTorch compute the bounds on the CPU as well, which loads faster and
    bounds more slowly. remember_in: a folder of the processes of one service, where they tell each other what need
    not be found out again. Raises EngineError, by node and operator, for a model that cannot be bounded, and for a
    device whose kernels are not faithful.
    """
    with one_thread_of_torch():
        classifier = admit(model)
        remembered = None if remember_in is None else Remembered(remember_in, classifier.file.SerializeToString())
        if validate and classifier.bounded:  # of any other nothing is promised
            translation.check(classifier.file, classifier.written, remembered)
        try:
            return _compile(classifier, resolve(device), threads, remembered, eager=eager)
        except Unfaithful:
            if device != "auto":
                raise
            return _compile(classifier, resolve("cpu"), threads, remembered, eager=eager)


@contextmanager
def one_thread_of_torch() -> Iterator[None]:
    """What PyTorch computes for a model that is loaded is small, and its threads wait for each other without
    letting go of their cores: where another program keeps one of two cores busy, loading took seven times as long
    on two threads as on one; where none does, a twentieth less."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compile(
    classifier: Classifier,
    target: torch.device,
    threads: int | None,
    remembered: Remembered | None,
    *,
    eager: bool,
) -> Engine:
    graph, classes = classifier.graph, classifier.classes
    predictor = make_predictor(graph, threads)
    kernel_check.check_prediction(classifier.served, threads)
    if classifier.bounded:
        if target.type == "cpu" and not eager:
            evaluate: Callable[[Ball], Evaluation] = OnnxEngine(graph, threads, remembered)
        else:
            evaluate = _eager(classifier.served, predictor, target)
        tighten = _tighter(graph, target, threads)
    else:
        evaluate, tighten = partial(_beside, predictor, partial(_nothing_guaranteed, classes)), _NOTHING
    engine = Engine(predictor, evaluate, classes, classifier.shape, target.type, tighten, classifier.heads)
    engine.bit_identical = engine.bit_identical and not eager  # PyTorch chooses kernels by the size of a batch
    selfcheck.check(engine)
    return engine


def make_predictor(graph: Graph, threads: int | None) -> Predictor:
    try:
        return Predictor(write_graph(graph), threads, sums_branches=sums_branches(graph))
    except Exception as error:
        raise EngineError(f"ONNX Runtime does not load the graph: {error}") from error


def _eager(served: AdmittedGraph, predictor: Predictor, device: torch.device) -> Callable[[Ball], Evaluation]:
    """Bounds by PyTorch on the device, once its kernels were tried; predictions by ONNX Runtime."""
    kernel_check.check_bounds(served, device, range(16, 65, 16))
    return partial(_beside, predictor, TorchEngine(served.graph, device).begin)


def _beside(predictor: Predictor, begin: Callable[[Ball], Margins], ball: Ball) -> Evaluation:
    """The bound first: a GPU works on it while the CPU predicts."""
    margins = begin(ball)
    return Evaluation(predictor(ball.point), margins())


def _tighter(graph: Graph, device: torch.device, threads: int | None) -> Tighten | str:
    """Linear bounds, or why there are none: such a graph is served all the same."""
    try:
        return CrownEngine(graph, device, threads)
    except Unsupported as error:
        return str(error)


def _nothing_guaranteed(classes: int, ball: Ball) -> Margins:
    """For a model that could overflow float32 somewhere in the pixel cube."""
    margins = np.where(np.eye(classes, dtype=bool), 0.0, np.inf)
    return lambda: np.broadcast_to(margins, (len(ball.point), classes, classes))
