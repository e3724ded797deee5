"""Image packs: NumPy archives of uint8 images, either as arrays or as JPEG files one after another."""

import io
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class Pack(NamedTuple):
    """images: uint8 (N, H, W) or (N, H, W, 3). labels: int64 (N,), or None where there are none."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None


PARTS: Mapping[str, tuple[str, slice]] = {
    "gtsrb_32_a_train": ("gtsrb_32_a", slice(0, 4000)),
    "gtsrb_32_a_test": ("gtsrb_32_a", slice(4000, 5000)),
}
"""Sets that come in one piece: a name for the images to train on, one for those to test on, and where they are."""


def there(folder: Path, name: str) -> bool:
    """Whether `load` will find its file."""
    return (folder / f"{PARTS.get(name, (name,))[0]}.npz").is_file()


def load(folder: Path, name: str) -> Pack:
    """Read `<folder>/<name>.npz`: `images`, or `jpeg` with `offsets`; `labels` where present. A name in `PARTS` is
    that part of another file.

    Raises FileNotFoundError, saying what to do, when the file is not there.
    """
    whole, rows = PARTS.get(name, (name, slice(None)))
    images, labels = _read(folder, whole)
    return Pack(images[rows], None if labels is None else labels[rows])


def _read(folder: Path, name: str) -> Pack:
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"no image pack {path}; name the folder of the packs with --data or GOODCERT_DATA")
    with np.load(path) as archive:
        labels = archive["labels"].astype(np.int64) if "labels" in archive else None
        images = archive["images"] if "images" in archive else _decode(archive["jpeg"], archive["offsets"])
    return Pack(images, labels)


def _decode(jpeg: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    data = jpeg.tobytes()
    files = (data[a:b] for a, b in pairwise(offsets))
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
