"""The paper's image sets in the formats that their makers publish, for users who have the files.

Every loader takes the data folder and returns uint8 images (N, H, W) or (N, H, W, 3), or None where the file is
not there. No loader unpickles anything. Bitterwolf, Meinke and Hein, NeurIPS 2020, name the sets.

    emnist-letters-test-images-idx3-ubyte.gz   EMNIST letters (Cohen et al., 2017)
    test_32x32.mat                             SVHN, cropped digits (Netzer et al., 2011)
    cifar-100-binary/test.bin                  CIFAR-100, binary version (Krizhevsky, 2009)
    classroom_val_lmdb/                        LSUN classroom, unzipped (Yu et al., 2015); needs the package lmdb
    tiny_images.bin                            80 Million Tiny Images (Torralba et al., 2008)
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodcert.data import formats
from goodcert.data.formats import PLANES, SIDE

TINY_IMAGES_KEPT = 10_000
"""The last of the 80 million are for evaluation: a pack made to train on must leave them out."""


def emnist_letters(folder: Path) -> NDArray[np.uint8] | None:
    """Handwritten letters, (N, 28, 28). The file stores every image transposed; here they stand upright."""
    path = folder / "emnist-letters-test-images-idx3-ubyte.gz"
    return formats.idx(path).transpose(0, 2, 1) if path.is_file() else None


def svhn(folder: Path) -> NDArray[np.uint8] | None:
    """House numbers, (N, 32, 32, 3)."""
    path = folder / "test_32x32.mat"
    return formats.house_numbers(path)[0] if path.is_file() else None


def cifar100(folder: Path) -> NDArray[np.uint8] | None:
    """(N, 32, 32, 3) from records of two labels and the three colour planes."""
    path = folder / "cifar-100-binary" / "test.bin"
    if not path.is_file():
        return None
    return formats.planes(formats.records(path, np.fromfile(path, np.uint8), 2 + PLANES)[:, 2:])


def lsun_classroom(folder: Path) -> NDArray[np.uint8] | None:
    """The middle square of every photo, at 32 x 32 pixels: (N, 32, 32, 3)."""
    path = folder / "classroom_val_lmdb"
    if not path.is_dir():
        return None
    try:
        import lmdb  # only who has this set needs it
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path} is read by the package lmdb, which is not installed: pip install lmdb"
        ) from error
    with lmdb.open(str(path), readonly=True, lock=False) as database, database.begin() as transaction:
        return np.stack([_square(Image.open(io.BytesIO(photo))) for _, photo in transaction.cursor()])


def tiny_images(folder: Path) -> NDArray[np.uint8] | None:
    """The last 10,000, (N, 32, 32, 3); the file stores column by column, one colour plane after another."""
    path = folder / "tiny_images.bin"
    if not path.is_file():
        return None
    kept = formats.records(path, np.memmap(path, np.uint8, "r"), PLANES)[-TINY_IMAGES_KEPT:]
    return formats.planes(np.array(kept)).transpose(0, 2, 1, 3)


def _square(photo: Image.Image) -> NDArray[np.uint8]:
    side = min(photo.size)
    left, top = ((extent - side) // 2 for extent in photo.size)
    middle = photo.convert("RGB").crop((left, top, left + side, top + side))
    return np.asarray(middle.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
