"""What the guarantee costs: prediction and bound against the prediction alone, interleaved in one process.

Machines are shared and noisy; a ratio of two neighbours in time holds where absolute times do not.
"""

import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from goodcert import engine
from goodcert.bounds.ball import around
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.nets import build

SHAPE, CLASSES, EPSILON = (1, 28, 28), 10, 0.1
_SECONDS_PER_ROW = 3.0


@dataclass(frozen=True)
class SpeedRow:
    """Milliseconds per batch, medians; `ratio` is the median over pairs of neighbouring runs."""

    net: str
    batch: int
    threads: int
    prediction_ms: float
    certified_ms: float
    ratio: float


def measure(net: str, batch: int, threads: int, device: str) -> SpeedRow:
    """Time a randomly initialised network; weights do not change what is computed."""
    torch.manual_seed(0)
    model = write_graph(graph_of(build(net, SHAPE, CLASSES), SHAPE))
    compiled = engine.compile(model, device, threads)
    images = np.random.default_rng(0).random((batch, *SHAPE), dtype=np.float32)
    ball = around(images, EPSILON)
    pairs = _interleaved(lambda: compiled.logits(ball.point), lambda: compiled.certify_balls(ball))
    plain, certified = (median(times) * 1e3 for times in zip(*pairs, strict=True))
    return SpeedRow(net, batch, threads, plain, certified, median(b / a for a, b in pairs))


def _interleaved(first: Callable[[], object], second: Callable[[], object]) -> list[tuple[float, float]]:
    """Seconds of each, in turn, after a warm-up, for about `_SECONDS_PER_ROW` and at least five pairs."""
    _seconds(first), _seconds(second)
    pairs: list[tuple[float, float]] = []
    end = perf_counter() + _SECONDS_PER_ROW
    while len(pairs) < 5 or perf_counter() < end:
        pairs.append((_seconds(first), _seconds(second)))
    return pairs


def _seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def table(rows: Iterable[SpeedRow]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| network | batch | threads | prediction (ms) | prediction + bound (ms) | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.net} | {r.batch} | {r.threads} | {r.prediction_ms:.2f} | {r.certified_ms:.2f} | {r.ratio:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def hardware(device: str) -> str:
    """What the table was measured on."""
    runtimes = ", ".join(f"{name} {version(name)}" for name in ("torch", "onnxruntime"))
    gpu = f"{torch.cuda.get_device_name()} beside " if device == "cuda" else ""
    return f"{gpu}{_processor()}, Python {platform.python_version()}, {runtimes}"


def _processor() -> str:
    """The processor's own name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
