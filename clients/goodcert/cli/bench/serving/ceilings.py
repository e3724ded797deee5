"""What no server can beat: the engine alone, and decoding with it, in this process."""

import shutil
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter, process_time

import onnx
import torch

from goodcert import artifact, engine, zoo
from goodcert.artifact import Artifact, Metadata
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.cli.bench.serving.bodies import SIDE, Body
from goodcert.engine import Engine
from goodcert.images.preprocess import Prepared
from goodcert.nets import build
from goodcert.serve.repository.predictor import predict

DEFAULT = "mnist-good100"
CLASSES = 10


def write_model(net: str, folder: Path) -> tuple[str, Artifact]:
    """The name under which a model of this architecture now lies in `folder`, and the model; S ships with us."""
    name = DEFAULT if net == "S" else f"untrained-{net.lower()}"
    path = folder / name / "1" / "model.onnx"
    if net == "S":
        path.parent.mkdir(parents=True)
        shutil.copyfile(zoo.folder() / DEFAULT / "1" / "model.onnx", path)
    else:
        artifact.write(_untrained(net), _metadata(), path)
    return name, artifact.read(path)


def _untrained(net: str) -> onnx.ModelProto:
    torch.manual_seed(0)
    shape = (1, SIDE, SIDE)
    return write_graph(graph_of(build(net, shape, CLASSES), shape))


def _metadata() -> Metadata:
    labels = tuple(map(str, range(CLASSES)))
    return Metadata(labels, SIDE, SIDE, "grey", "0.1", 0.5, "none", recipe={"trained": False, "seed": 0})


class InProcess:
    """A model with its engine, and some bodies to certify."""

    def __init__(self, model: Artifact, body: Body, bodies: Sequence[bytes], device: str, threads: int) -> None:
        self._metadata, self._body, self._bodies = model.metadata, body, bodies
        self._engine: Engine = engine.compile(model.model, device, threads)

    def engine_ms(self, batch: int, seconds: float) -> float:
        """Milliseconds of processor time an image, in batches of this size, the images being there."""
        prepared = self._prepared(batch)
        return _cpu_ms(lambda: predict(self._engine, prepared), seconds) / batch

    def decode_and_engine_ms(self, batch: int, seconds: float) -> float:
        """The same from the bodies of requests."""
        return _cpu_ms(lambda: predict(self._engine, self._prepared(batch)), seconds) / batch

    def _prepared(self, batch: int) -> list[Prepared]:
        bodies = islice(cycle(self._bodies), batch)
        return [self._body.understand(body, self._metadata) for body in bodies]


def _cpu_ms(work: Callable[[], object], seconds: float) -> float:
    """Processor time of one call, all threads, after a first that is not counted."""
    work()
    calls, start, end = 0, process_time(), perf_counter() + seconds
    while not calls or perf_counter() < end:
        work()
        calls += 1
    return (process_time() - start) * 1e3 / calls
