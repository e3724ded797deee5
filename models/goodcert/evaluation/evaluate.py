"""Evaluating model files on their benchmark, with the engine that serves them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from goodcert import engine
from goodcert.artifact import Artifact
from goodcert.bounds.ball import parse_epsilon
from goodcert.bounds.classifier import peel_softmax
from goodcert.bounds.reader import read_graph
from goodcert.engine import Certificates, Engine
from goodcert.engine.prediction import confidence
from goodcert.evaluation import benchmarks, l2
from goodcert.evaluation.attack import Budget, Points, attack, sample
from goodcert.evaluation.benchmarks import Images
from goodcert.evaluation.differentiable import forward
from goodcert.evaluation.measures import Results, Scores, out_result

_CHUNK = 512

SWEEP_IMAGES = 300
SWEEP = tuple(np.linspace(0, 2, 13))
"""Radii at which bounds are computed for the curves, in units of epsilon."""


class UnsoundError(Exception):
    """A confidence above its guaranteed bound, or below what an attack must reach: nothing measured is valid."""


@dataclass(frozen=True)
class Measured:
    """The scores of one model, image by image, before any mean is taken.

    inside: at radius 0; labels: theirs. outside: at epsilon, by out-distribution; all without margins.
    attacked: the highest confidence found near each image of `sample(...)`. sweep: (13, N) bounds at the radii of
    SWEEP. l2: (R, N) bounds of a model with mixtures in the balls of `l2.RADII`; empty for any other.
    """

    artifact: Artifact
    epsilon: str
    inside: Certificates
    labels: NDArray[np.int64]
    outside: Mapping[str, Certificates]
    attacked: Mapping[str, Scores] = field(default_factory=dict)
    sweep: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    l2: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def results(self) -> Results:
        """What the tables show."""
        inside, threshold = self.inside.confidence, self.artifact.metadata.threshold
        return Results(
            epsilon=self.epsilon,
            images=len(inside),
            accuracy=float(100 * np.mean(self.inside.index == self.labels)),
            accepted=float(100 * np.mean(inside > threshold)),
            mean_confidence=float(inside.mean()),
            outside={
                name: out_result(inside, certificates, threshold, self.attacked.get(name))
                for name, certificates in self.outside.items()
            },
        )


@dataclass(frozen=True)
class ImageSets:
    """inside, outside: uint8 (N, C, H, W). labels: (N,), of `inside`. absent: out-distributions of the benchmark
    that the user does not have."""

    inside: Images
    labels: NDArray[np.int64]
    outside: Mapping[str, Images]
    absent: tuple[str, ...] = ()


def evaluate(artifact: Artifact, folder: Path, device: str = "cpu") -> Results:
    """Measure `artifact` on the packs in `folder`, at its own epsilon and threshold."""
    (measured,) = measure([artifact], load([artifact], folder), artifact.metadata.epsilon, device)
    return measured.results()


def load(artifacts: Sequence[Artifact], folder: Path) -> ImageSets:
    """The images that all these models are measured on; ValueError for models that do not share a benchmark."""
    kinds = {(a.metadata.recipe.get("in_pack"), a.metadata.input_shape) for a in artifacts}
    if len(kinds) != 1:
        raise ValueError(f"models of {len(kinds)} kinds {sorted(map(str, kinds))}; evaluate one kind at a time")
    metadata = artifacts[0].metadata
    benchmark = benchmarks.of(metadata)
    inside, labels = benchmarks.load_inside(benchmark, metadata, folder)
    outside = benchmarks.load_outside(benchmark, metadata, folder)
    return ImageSets(inside, labels, outside, tuple(name for name in benchmark.outside if name not in outside))


def measure(
    artifacts: Sequence[Artifact],
    images: ImageSets,
    epsilon: str,
    device: str = "cpu",
    budget: Budget | None = None,
    *,
    sweep: bool = False,
) -> list[Measured]:
    """Measure every model at the radius `epsilon`; with a budget, attack it too, and with what was found on the
    others. Raises UnsoundError unless clean <= adversarial <= guaranteed confidence for every image."""
    engines = [engine.compile(a.model, device) for a in artifacts]
    radius = parse_epsilon(epsilon)
    attacked = _attacked(artifacts, engines, images, radius, budget) if budget else [{} for _ in engines]
    measured = [
        Measured(
            artifact=artifact,
            epsilon=epsilon,
            inside=_certify(compiled, images.inside, 0.0, "in-distribution"),
            labels=images.labels,
            outside={name: _certify(compiled, x, radius, name) for name, x in images.outside.items()},
            attacked=found,
            sweep=_sweep(compiled, images.outside, radius) if sweep else {},
            l2=_l2(artifact, images.outside),
        )
        for artifact, compiled, found in zip(artifacts, engines, attacked, strict=True)
    ]
    for one in measured:
        require_order(one)
    return measured


def require_order(measured: Measured) -> None:
    """Raises UnsoundError unless 1/K <= lower bound <= clean <= adversarial <= guaranteed confidence <= 1
    everywhere."""
    for name, certificates in [("in-distribution", measured.inside), *measured.outside.items()]:
        clean, bound = certificates.confidence, certificates.confidence_upper_bound
        found = measured.attacked.get(name)
        holds = certificates.in_order()
        if found is not None:
            at = sample(clean, len(found))
            holds[at] &= (clean[at] <= found) & (found <= bound[at])
        if not holds.all():
            worst = np.flatnonzero(~holds)
            raise UnsoundError(
                f"{name}: {len(worst)} images, first number {worst[0]}, break clean <= adversarial <= guaranteed "
                "confidence; the bounds of this model cannot be believed, please report it"
            )


def _certify(compiled: Engine, images: Images, epsilon: float, name: str) -> Certificates:
    chunks = tqdm(np.array_split(images, max(1, len(images) // _CHUNK)), desc=name, leave=False)
    return Certificates.concatenate([_without_margins(compiled.certify(c, epsilon)) for c in chunks])


def _without_margins(certificates: Certificates) -> Certificates:
    """With margins of shape (N, 0, K): they are K^2 numbers an image, which nothing here reads."""
    count, _, classes = certificates.margins.shape
    return replace(certificates, margins=np.empty((count, 0, classes)))


def _sweep(compiled: Engine, outside: Mapping[str, Images], epsilon: float) -> dict[str, NDArray[np.float64]]:
    radii = [min(1.0, factor * epsilon) for factor in SWEEP]
    chosen = {name: x[sample(x, SWEEP_IMAGES)] for name, x in outside.items()}
    return {
        name: np.stack([compiled.certify(x, radius).confidence_upper_bound for radius in radii])
        for name, x in tqdm(chosen.items(), desc="bounds by radius", leave=False)
    }


def _l2(artifact: Artifact, outside: Mapping[str, Images]) -> dict[str, NDArray[np.float64]]:
    odds = l2.mixtures(read_graph(artifact.model))
    classes = len(artifact.metadata.labels)
    return {} if odds is None else {name: l2.bounds(odds, x, classes) for name, x in outside.items()}


def _attacked(
    artifacts: Sequence[Artifact], engines: Sequence[Engine], images: ImageSets, epsilon: float, budget: Budget
) -> list[dict[str, Scores]]:
    """For every model, by out-distribution, the highest served confidence near each sampled image: at the image,
    and at every point found on any model."""
    device = torch.device(engines[0].device)
    functions = [forward(peel_softmax(read_graph(a.model)).to(device)) for a in artifacts]
    found: list[dict[str, Scores]] = [{} for _ in engines]
    for name, outliers in images.outside.items():
        chosen = outliers[sample(outliers, budget.points)]
        clean = (chosen / 255).astype(np.float32)[None]
        points = [clean, *(attack(f, chosen, epsilon, budget, device, name) for f in functions)]
        for compiled, scores in zip(engines, found, strict=True):
            scores[name] = np.max([highest(compiled, p) for p in points], axis=0)
    return found


def highest(compiled: Engine, points: Points) -> Scores:
    """(N,) the highest confidence that is served at any of the points (R, N, C, H, W) of each image."""
    return np.asarray(np.max([confidence(compiled.logits(p)) for p in points], axis=0))
