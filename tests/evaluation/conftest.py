"""A benchmark in miniature: packs of a few images, and models that were never trained."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from goodcert import artifact
from goodcert.evaluation import benchmarks
from graphs import classifier
from miniature import PACKS, metadata


@pytest.fixture(scope="session", autouse=True)
def _little_noise() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmarks, "NOISE_IMAGES", 12)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packs of random images."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("packs")
    for name, shape in PACKS.items():
        images = random.integers(0, 256, shape, dtype=np.uint8)
        np.savez(path / f"{name}.npz", images=images, labels=random.integers(0, 3, shape[0]))
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models, in folders of their own."""
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / "one/1/model.onnx", folder / "two/model.onnx"]
    for seed, path in enumerate(paths):
        artifact.write(classifier(seed, classes=3), metadata(f"METHOD_{seed}"), path)
    return paths


@pytest.fixture(scope="session")
def artifacts(files: list[Path]) -> list[artifact.Artifact]:
    return [artifact.read(path) for path in files]
