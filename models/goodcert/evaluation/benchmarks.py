"""The test images: one in-distribution and the out-distributions it is told from. Never trained or tuned on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from goodcert.artifact import Metadata
from goodcert.data import originals, packs
from goodcert.data.images import centre_crop, grey, uniform_noise
from goodcert.data.noise import permuted, smoothed
from goodcert.data.tint import tinted

NOISE_IMAGES, NOISE_SEED = 10_000, 2020

Images = NDArray[np.uint8]
"""(N, H, W) or (N, H, W, 3)."""

Source = Callable[[Path, Metadata], Images | None]
"""From the data folder to images of any size, or None where the user does not have the set."""


@dataclass(frozen=True)
class Benchmark:
    """name: of the file of results. title: of the data set, for people. inside: the pack with labels. outside: by
    the names that tables show. kind: of images, for cards. notes: what to know before trusting a figure, a
    paragraph each."""

    name: str
    title: str
    inside: str
    outside: Mapping[str, Source] = field(repr=False)
    kind: str = "small photos"
    notes: tuple[str, ...] = ()


def _nowhere(_: Path) -> None:
    """Of a set that comes as a pack alone."""


def pack(name: str, published: Callable[[Path], Images | None] = _nowhere) -> Source:
    """An image pack, or else the files that the makers of the set publish."""
    return lambda folder, _: packs.load(folder, name).images if packs.there(folder, name) else published(folder)


def coloured_digits(folder: Path, metadata: Metadata) -> Images | None:
    """MNIST's test images in random colours, to their edges: a black frame would tell them from any photo."""
    if not packs.there(folder, "mnist_test"):
        return None
    return tinted(bordered(packs.load(folder, "mnist_test").images, metadata.height), NOISE_SEED)


def noise(folder: Path, metadata: Metadata) -> Images:  # noqa: ARG001  every source takes the folder
    """Uniform noise, the out-distribution that needs no pack."""
    colours = () if metadata.color == "grey" else (3,)
    return uniform_noise(NOISE_IMAGES, (metadata.height, metadata.width, *colours), NOISE_SEED)


def smoothed_noise(folder: Path, metadata: Metadata) -> Images:
    return smoothed(noise(folder, metadata), NOISE_SEED)


def permuted_noise(name: str, folder: Path, metadata: Metadata) -> Images:  # noqa: ARG001
    """The images of a pack, each with its pixels in another order."""
    return permuted(packs.load(folder, name).images, NOISE_SEED)


_JPEG = (
    "The photos are JPEG copies: CIFAR-10 came as one (quality 75, colours at half the resolution), and the other "
    "photos, those trained on too, went through the same once. The digits in colour and the noise did not, nor do "
    "images that users send: block marks alone can tell such sets apart, and figures do not compare exactly with "
    "published ones. With CIFAR-10 from its official files, which are no JPEGs, they would tell it from every set "
    "of photos here."
)
_TINY_IMAGENET = (
    "Tiny ImageNet is an easy test for networks trained with outliers: two thirds of those in natural_patches_32 "
    "are of the same source and classes."
)
_HOUSE_NUMBERS = (
    "The house numbers are no JPEGs, while CIFAR-10, Tiny ImageNet and the traffic signs are JPEG copies here: "
    "block marks alone can tell these sets apart."
)
_SIGNS = "A trial of adding a set: the test shows signs seen in training, and the outliers are unlike signs."
_NOISES: Mapping[str, Source] = {"uniform noise": noise, "smoothed noise": smoothed_noise}

_MNIST = Benchmark(
    "mnist",
    "MNIST",
    "mnist_test",
    {
        "Fashion-MNIST": pack("fashion_sample_a"),
        "letters": pack("letters_a"),
        "notMNIST": pack("notmnist_a"),
        "grey CIFAR-10": pack("cifar10_test"),
        **_NOISES,
        "permuted noise": partial(permuted_noise, "mnist_test"),
        "all of Fashion-MNIST": pack("fashion_mnist_test"),
        "EMNIST letters": pack("emnist_letters_test", originals.emnist_letters),
    },
    "clean, centred images",
)
_CIFAR10 = Benchmark(
    "cifar10",
    "CIFAR-10",
    "cifar10_test",
    {
        "Tiny ImageNet": pack("tinyimagenet_val_32_a"),
        "traffic signs": pack("gtsrb_32_a"),
        "MNIST in colour": coloured_digits,
        **_NOISES,
        "CIFAR-100": pack("cifar100_test", originals.cifar100),
        "SVHN": pack("svhn_test", originals.svhn),
        "LSUN classroom": pack("lsun_classroom_test", originals.lsun_classroom),
        "80M Tiny Images": pack("tiny_images_test", originals.tiny_images),
    },
    notes=(_JPEG, _TINY_IMAGENET),
)
_SVHN = Benchmark(
    "svhn",
    "SVHN",
    "svhn_test",
    {
        "CIFAR-10": pack("cifar10_test"),
        "Tiny ImageNet": pack("tinyimagenet_val_32_a"),
        "traffic signs": pack("gtsrb_32_a"),
        **_NOISES,
        "CIFAR-100": pack("cifar100_test", originals.cifar100),
        "LSUN classroom": pack("lsun_classroom_test", originals.lsun_classroom),
        "80M Tiny Images": pack("tiny_images_test", originals.tiny_images),
    },
    notes=(_HOUSE_NUMBERS, _TINY_IMAGENET),
)
_GTSRB = Benchmark(
    "gtsrb",
    "German traffic signs",
    "gtsrb_32_a_test",
    {
        "CIFAR-10": pack("cifar10_test"),
        "Tiny ImageNet": pack("tinyimagenet_val_32_a"),
        **_NOISES,
    },
    notes=(_SIGNS, _JPEG, _TINY_IMAGENET),
)

BENCHMARKS: Mapping[str, Benchmark] = {
    "mnist_train": _MNIST,
    "cifar10_train": _CIFAR10,
    "svhn_train": _SVHN,
    "gtsrb_32_a_train": _GTSRB,
}
"""By the pack that a model was trained on."""


def of(metadata: Metadata) -> Benchmark:
    """The benchmark of a model; raises ValueError for one trained on something without a benchmark."""
    trained_on = str(metadata.recipe.get("in_pack"))
    if trained_on not in BENCHMARKS:
        raise ValueError(f"trained on {trained_on!r}; benchmarks exist for {', '.join(BENCHMARKS)}")
    return BENCHMARKS[trained_on]


def load_inside(benchmark: Benchmark, metadata: Metadata, folder: Path) -> tuple[Images, NDArray[np.int64]]:
    """The in-distribution as the model's inputs (N, C, H, W), and its labels."""
    images, labels = packs.load(folder, benchmark.inside)
    if labels is None:
        raise ValueError(f"pack {benchmark.inside} has no labels, which accuracy needs")
    return fitted(images, metadata), labels


def load_outside(benchmark: Benchmark, metadata: Metadata, folder: Path) -> dict[str, Images]:
    """Every out-distribution that is there, as the model's inputs (N, C, H, W)."""
    found = {name: source(folder, metadata) for name, source in benchmark.outside.items()}
    return {name: fitted(images, metadata) for name, images in found.items() if images is not None}


def fitted(images: Images, metadata: Metadata) -> Images:
    """Images of any size as (N, C, H, W): black borders added, centre cut out, greyed or made grey in three
    channels, as the model needs."""
    images = centre_crop(bordered(images, metadata.height), metadata.height)
    if metadata.color == "grey":
        return grey(images)[:, None]
    coloured = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=3)
    return np.ascontiguousarray(coloured.transpose(0, 3, 1, 2))


def bordered(images: Images, size: int) -> Images:
    """Images with black borders where they are smaller than size x size."""
    missing = [max(0, size - extent) for extent in images.shape[1:3]]
    borders = [(0, 0), *((m // 2, m - m // 2) for m in missing), *[(0, 0)] * (images.ndim - 3)]
    return np.pad(images, borders)
