"""Where data sets come from: the official files by name, checked, and what makes image packs of them.

A source is a few files and one function that reads them. To add one, write that function and an entry in
`SOURCES`; docs/data.md shows it.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodcert.data import formats
from goodcert.data.formats import PLANES
from goodcert.data.packs import Pack


@dataclass(frozen=True)
class File:
    """One file to download. checksum: `ALGORITHM:HEX`, as its publisher gives it; another file is refused."""

    url: str
    checksum: str


@dataclass(frozen=True)
class Source:
    """One pack: the files that it comes from, and how they are read, in their order."""

    files: tuple[File, ...]
    read: Callable[..., Pack]


def fetch(name: str, folder: Path, sources: Mapping[str, Source] | None = None) -> Path:
    """Download what the pack `name` is made of and write `<folder>/<name>.npz`; returns its path.

    Files are kept in `<folder>/downloads` and not fetched again. Raises ValueError for a file whose checksum is
    another one, which is then not kept.
    """
    import pooch  # of the training extra

    source = (SOURCES if sources is None else sources)[name]
    downloads = folder / "downloads"
    files = [Path(pooch.retrieve(f.url, f.checksum, f.url.rsplit("/", 1)[1], downloads)) for f in source.files]
    return write(source.read(*files), folder / f"{name}.npz")


def write(pack: Pack, path: Path) -> Path:
    """Write an image pack; whatever happens, the file there is a whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"images": pack.images} if pack.labels is None else {"images": pack.images, "labels": pack.labels}
    new = path.with_name(f"{path.name}.new")
    with new.open("wb") as file:
        np.savez_compressed(file, **arrays)
    new.replace(path)
    return path


# --- how files are read -------------------------------------------------------------------------------


def idx(images: Path, labels: Path) -> Pack:
    """The format of MNIST: big-endian sizes, then bytes; gzipped."""
    return Pack(formats.idx(images), formats.idx(labels).astype(np.int64))


def cifar(pattern: str) -> Callable[[Path], Pack]:
    """The binary version of CIFAR-10, the batches whose names match: rows of a label and three planes."""

    def read(path: Path) -> Pack:
        with tarfile.open(path) as archive:
            names = sorted(name for name in archive.getnames() if re.search(pattern, name))
            files = [archive.extractfile(name) for name in names]
            data = b"".join(file.read() for file in files if file)
        rows = formats.records(path, np.frombuffer(data, np.uint8), 1 + PLANES)
        return Pack(formats.planes(rows[:, 1:]), rows[:, 0].astype(np.int64))

    return read


def matlab(path: Path) -> Pack:
    """SVHN's cropped digits."""
    return Pack(*formats.house_numbers(path))


def signs(path: Path) -> Pack:
    """German traffic signs: PPM files in a folder a class, brought to 32 x 32 pixels. In random order, as the last
    images of a pack are held out, but with the photos of one sign together."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".ppm")]
        names.sort(key=lambda name: (crc32(name.rsplit("_", 1)[0].encode()), name))  # <class>/<sign>_<photo>.ppm
        pixels = [_small(archive.read(name)) for name in names]
    return Pack(np.stack(pixels), np.array([int(name.split("/")[-2]) for name in names]))


def _small(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))


# --- the official ones --------------------------------------------------------------------------------

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_SVHN = "http://ufldl.stanford.edu/housenumbers"
_CIFAR = File("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530")

SOURCES: Mapping[str, Source] = {
    "mnist_train": Source((
        File(f"{_MNIST}/train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        File(f"{_MNIST}/train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432"),
    ), idx),
    "mnist_test": Source((
        File(f"{_MNIST}/t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
        File(f"{_MNIST}/t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"),
    ), idx),
    "cifar10_train": Source((_CIFAR,), cifar(r"data_batch_\d\.bin$")),
    "cifar10_test": Source((_CIFAR,), cifar(r"test_batch\.bin$")),
    "svhn_train": Source((File(f"{_SVHN}/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),), matlab),
    "svhn_test": Source((File(f"{_SVHN}/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),), matlab),
    "gtsrb_train": Source((File(
        "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB-Training_fixed.zip",
        "md5:513f3c79a4c5141765e10e952eaa2478",
    ),), signs),
}  # fmt: skip
"""By the name of the pack."""
