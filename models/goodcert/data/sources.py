"""Where data sets come from: the official files by name, checked, and what makes image packs of them.

A source is a few files and one function that reads them. To add one, write that function and an entry in
`SOURCES`; docs/data.md shows it.
"""

import gzip
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
    files = [Path(pooch.retrieve(f.url, f.checksum, path=downloads)) for f in source.files]
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


def letters(images: str, labels: str) -> Callable[[Path], Pack]:
    """Two files of EMNIST's archive, in the format of MNIST, but with every image transposed; here they stand
    upright. Label 0-25 = A-Z."""

    def read(path: Path) -> Pack:
        with zipfile.ZipFile(path) as archive:
            files = [gzip.decompress(archive.read(name)) for name in (images, labels)]
        pixels, numbers = (formats.idx_values(file, path) for file in files)
        return Pack(pixels.transpose(0, 2, 1), numbers.astype(np.int64) - 1)

    return read


def cifar(pattern: str, labels: int = 1) -> Callable[[Path], Pack]:
    """The binary version of CIFAR, the batches whose names match: rows of labels, the last of which counts, and
    three planes."""

    def read(path: Path) -> Pack:
        with tarfile.open(path) as archive:
            names = sorted(name for name in archive.getnames() if re.search(pattern, name))
            files = [archive.extractfile(name) for name in names]
            data = b"".join(file.read() for file in files if file)
        rows = formats.records(path, np.frombuffer(data, np.uint8), labels + PLANES)
        return Pack(formats.planes(rows[:, labels:]), rows[:, labels - 1].astype(np.int64))

    return read


def matlab(path: Path) -> Pack:
    """SVHN's cropped digits from a file of MATLAB (`*_32x32.mat`): 32 x 32 pixels in colour, labels 0 to 9."""
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
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_TORONTO = "https://www.cs.toronto.edu/~kriz"
_CIFAR = File(f"{_TORONTO}/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530")
_CIFAR100 = File(f"{_TORONTO}/cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8")

SOURCES: Mapping[str, Source] = {
    "mnist_train": Source((
        File(f"{_MNIST}/train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        File(f"{_MNIST}/train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432"),
    ), idx),
    "mnist_test": Source((
        File(f"{_MNIST}/t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
        File(f"{_MNIST}/t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"),
    ), idx),
    "fashion_mnist_test": Source((
        File(f"{_FASHION}/t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
        File(f"{_FASHION}/t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310"),
    ), idx),
    "emnist_letters_test": Source((File(  # 0.5 GB, of which this is a hundredth
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip", "md5:58c8d27c78d21e728a6bc7b3cc06412e",
    ),), letters(*(f"gzip/emnist-letters-test-{part}-ubyte.gz" for part in ("images-idx3", "labels-idx1")))),
    "cifar10_train": Source((_CIFAR,), cifar(r"data_batch_\d\.bin$")),
    "cifar10_test": Source((_CIFAR,), cifar(r"test_batch\.bin$")),
    "cifar100_train": Source((_CIFAR100,), cifar(r"/train\.bin$", labels=2)),
    "cifar100_test": Source((_CIFAR100,), cifar(r"/test\.bin$", labels=2)),
    "svhn_train": Source((File(f"{_SVHN}/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),), matlab),
    "svhn_test": Source((File(f"{_SVHN}/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),), matlab),
    "gtsrb_train": Source((File(
        "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB-Training_fixed.zip",
        "md5:513f3c79a4c5141765e10e952eaa2478",
    ),), signs),
}  # fmt: skip
"""By the name of the pack."""
