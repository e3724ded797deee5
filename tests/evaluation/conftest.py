"""A benchmark in miniature: packs of a few images, and models that were never trained."""

from pathlib import Path

import numpy as np
import pytest

from goodcert import artifact
from goodcert.evaluation import benchmarks
from graphs import classifier
from miniature import PACKS, metadata


@pytest.fixture(autouse=True)
def _little_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "NOISE_IMAGES", 12)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packs of random images."""
    random, path = np.random.default_rng(0), tmp_path_factory.mktemp("packs")
    for name, shape in PACKS.items():
        images = random.integers(0, 256, shape, dtype=np.uint8)
        np.savez(path / f"{name}.npz", images=images, labels=random.integers(0, 3, shape[0]))
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two models, in folders of their own."""
    paths = [tmp_path / "one/1/model.onnx", tmp_path / "two/model.onnx"]
    for seed, path in enumerate(paths):
        artifact.write(classifier(seed, classes=3), metadata(f"METHOD_{seed}"), path)
    return paths


@pytest.fixture
def artifacts(files: list[Path]) -> list[artifact.Artifact]:
    return [artifact.read(path) for path in files]
