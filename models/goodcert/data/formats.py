"""File formats of published image sets. Nothing here unpickles or executes anything."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 32
PLANES = 3 * SIDE * SIDE
"""Bytes of a colour image."""

_UNSIGNED_BYTES = 0x08


def idx(path: Path) -> NDArray[np.uint8]:
    """A gzipped file in the format of MNIST."""
    return idx_values(gzip.decompress(path.read_bytes()), path)


def idx_values(data: bytes, path: Path) -> NDArray[np.uint8]:
    """The format of MNIST: a type, a rank, big-endian sizes, then bytes. Raises ValueError for others, naming
    `path`."""
    rank = data[3] if len(data) > 3 else 0
    shape = tuple(int(n) for n in np.frombuffer(data[4 : 4 + 4 * rank], ">u4"))
    if data[:3] != bytes([0, 0, _UNSIGNED_BYTES]) or len(data) != 4 + 4 * rank + np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path}: got {len(data)} bytes, expected an IDX file of unsigned bytes; fetch it again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def records(path: Path, data: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """The bytes as rows of one length. Raises ValueError where they are no whole rows."""
    if not len(data) or len(data) % length:
        raise ValueError(f"{path}: got {len(data)} bytes, expected a multiple of {length}; fetch the file again")
    return data.reshape(-1, length)


def planes(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 3 * 32 * 32), a colour plane after another, to (N, 32, 32, 3)."""
    return rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)


def house_numbers(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """SVHN's cropped digits: X (32, 32, 3, N), and y with 10 for the digit 0."""
    from scipy.io import loadmat  # of the training extra

    content = loadmat(path, variable_names=["X", "y"])
    images = np.ascontiguousarray(content["X"].transpose(3, 0, 1, 2))
    return images, np.asarray(content.get("y", np.empty(0))).reshape(-1).astype(np.int64) % 10
