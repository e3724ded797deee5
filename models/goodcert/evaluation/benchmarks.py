"""The test images: one in-distribution and the out-distributions it is told from. Never trained or tuned on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from goodcert.artifact import Metadata
from goodcert.data import packs
from goodcert.data.images import centre_crop, grey, uniform_noise

NOISE_IMAGES, NOISE_SEED = 10_000, 2020


@dataclass(frozen=True)
class Benchmark:
    """inside: the pack with labels. outside: packs by the names that tables show."""

    inside: str
    outside: Mapping[str, str]


BENCHMARKS: Mapping[str, Benchmark] = {
    "mnist_train": Benchmark(
        "mnist_test",
        {
            "grey CIFAR-10": "cifar10_test",
            "notMNIST": "notmnist_a",
            "Fashion-MNIST": "fashion_sample_a",
            "letters": "letters_a",
        },
    )
}
"""By the pack that a model was trained on."""


def of(metadata: Metadata) -> Benchmark:
    """The benchmark of a model; raises ValueError for one trained on something without a benchmark."""
    trained_on = str(metadata.recipe.get("in_pack"))
    if trained_on not in BENCHMARKS:
        raise ValueError(f"trained on {trained_on!r}; benchmarks exist for {', '.join(BENCHMARKS)}")
    return BENCHMARKS[trained_on]


def load(pack: str, metadata: Metadata, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
    """A pack as the model's inputs: uint8 (N, C, H, W), centre-cropped and greyed where needed, and labels."""
    images, labels = packs.load(folder, pack)
    images = centre_crop(images, metadata.height)
    if metadata.color == "grey":
        return grey(images)[:, None], labels
    return images.transpose(0, 3, 1, 2), labels


def noise(metadata: Metadata) -> NDArray[np.uint8]:
    """Uniform noise, the out-distribution that needs no pack."""
    return uniform_noise(NOISE_IMAGES, metadata.input_shape, NOISE_SEED)
