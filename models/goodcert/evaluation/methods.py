"""What each bound method decides, and what it costs: on a network trained with interval bounds, and on one that
is trained in the ordinary way, here and now."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from goodcert import engine
from goodcert.artifact import Artifact, Metadata
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.data import packs
from goodcert.data.images import uniform_noise
from goodcert.engine import Method
from goodcert.engine.prediction import confidence
from goodcert.evaluation import benchmarks
from goodcert.nets import build

METHODS: tuple[Method, ...] = ("ibp", "crown", "auto")
STEPS, _BATCH, _HELD_OUT, _QUANTILE = 300, 128, 4000, 0.05


@dataclass(frozen=True)
class Subject:
    """A network under measurement, by the name that the table shows, and the radii that suit it."""

    name: str
    model: onnx.ModelProto
    threshold: float
    epsilons: tuple[float, ...]


@dataclass(frozen=True)
class MethodRow:
    """certified: percent of `rejected` images (confidence at most the threshold) that are so on the whole ball.
    milliseconds: of CPU time per image, which others on the machine hardly change. Both as in `METHODS`."""

    name: str
    epsilon: float
    rejected: int
    certified: tuple[float, ...]
    milliseconds: tuple[float, ...]


def served(artifact: Artifact, epsilons: tuple[float, ...]) -> Subject:
    """A model file, under its threshold and its method of training."""
    return Subject(artifact.metadata.method, artifact.model, artifact.metadata.threshold, epsilons)


def ordinary(metadata: Metadata, folder: Path, epsilons: tuple[float, ...]) -> Subject:
    """The S network after a few steps of cross-entropy on the digits and of uniform confidence on noise (outlier
    exposure, Hendrycks et al., 2019), without any bound; its threshold as that of every model."""
    torch.manual_seed(0)
    pixels, labels = packs.load(folder, "mnist_train")
    images, targets = benchmarks.fitted(pixels, metadata), torch.from_numpy(np.asarray(labels))
    net = build("S", metadata.input_shape, len(metadata.labels))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    order = torch.randperm(len(images) - _HELD_OUT)
    for step in range(STEPS):
        rows = order[step * _BATCH : (step + 1) * _BATCH]
        noise = uniform_noise(_BATCH, metadata.input_shape, seed=step)
        fits = F.cross_entropy(net(_pixels(images[rows.numpy()])), targets[rows])
        loss = fits - net(_pixels(noise)).log_softmax(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        held_out = confidence(net(_pixels(images[-_HELD_OUT:])).numpy())
    model = write_graph(graph_of(net, metadata.input_shape))
    return Subject("outlier exposure, no bounds", model, float(np.quantile(held_out, _QUANTILE)), epsilons)


def _pixels(images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(images).float() / 255


def outliers(metadata: Metadata, folder: Path, each: int) -> NDArray[np.uint8]:
    """The first images of four out-distributions of the default model."""
    names = ("cifar10_test", "notmnist_a", "fashion_sample_a", "letters_a")
    return np.concatenate([benchmarks.fitted(packs.load(folder, n).images[:each], metadata) for n in names])


def measure(subject: Subject, images: NDArray[np.uint8], device: str) -> list[MethodRow]:
    """One row for each of its epsilons, one thread for ibp."""
    compiled = engine.compile(subject.model, device, threads=1)
    return [_row(compiled, subject, images, epsilon) for epsilon in subject.epsilons]


def _row(compiled: engine.Engine, subject: Subject, images: NDArray[np.uint8], epsilon: float) -> MethodRow:
    shares, times, rejected = [], [], 0
    for method in METHODS:
        start = process_time()
        found = compiled.certify(images, epsilon, method, subject.threshold)
        times.append((process_time() - start) * 1e3 / len(images))
        rejected = int((found.confidence <= subject.threshold).sum())
        shares.append(100 * int((found.confidence_upper_bound <= subject.threshold).sum()) / max(rejected, 1))
    return MethodRow(subject.name, epsilon, rejected, tuple(shares), tuple(times))


def table(rows: Iterable[MethodRow]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| training | epsilon | rejected | ibp | crown | auto | ibp (CPU ms) | crown (CPU ms) | auto (CPU ms) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in rows:
        shares = " | ".join(f"{share:.1f} %" for share in r.certified)
        times = " | ".join(f"{ms:.1f}" for ms in r.milliseconds)
        lines.append(f"| {r.name} | {r.epsilon:g} | {r.rejected} | {shares} | {times} |")
    return "\n".join(lines)
