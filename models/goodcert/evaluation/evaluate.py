"""Evaluating a model file on its benchmark, with the engine that serves it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from goodcert import engine
from goodcert.artifact import Artifact
from goodcert.bounds.ball import parse_epsilon
from goodcert.engine import Certificates, Engine
from goodcert.evaluation import benchmarks
from goodcert.evaluation.measures import Results, out_result

_CHUNK = 512


def evaluate(artifact: Artifact, folder: Path, device: str = "cpu") -> Results:
    """Measure `artifact` on the packs in `folder`, at its own epsilon and threshold."""
    compiled, metadata = engine.compile(artifact.model, device), artifact.metadata
    benchmark = benchmarks.of(metadata)
    images, labels = benchmarks.load(benchmark.inside, metadata, folder)
    inside = _certify(compiled, images, 0.0, benchmark.inside)
    outside = {"uniform noise": benchmarks.noise(metadata)}
    for name, pack in benchmark.outside.items():
        outside[name] = benchmarks.load(pack, metadata, folder)[0]
    epsilon = parse_epsilon(metadata.epsilon)
    return Results(
        epsilon=metadata.epsilon,
        images=len(images),
        accuracy=float(100 * np.mean(inside.index == labels)),
        accepted=float(100 * np.mean(inside.confidence > metadata.threshold)),
        mean_confidence=float(inside.confidence.mean()),
        outside={
            name: out_result(inside.confidence, _certify(compiled, x, epsilon, name), metadata.threshold)
            for name, x in outside.items()
        },
    )


def _certify(compiled: Engine, images: NDArray[np.uint8], epsilon: float, name: str) -> Certificates:
    chunks = np.array_split(images, max(1, len(images) // _CHUNK))
    return Certificates.concatenate([compiled.certify(c, epsilon) for c in tqdm(chunks, desc=name, leave=False)])
