"""Tensors on the wire: little-endian bytes or JSON in, little-endian bytes out."""

import struct
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goodcert.serve.errors import BadInference

NUMERIC: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
_LENGTH = struct.Struct("<I")


def numbers(raw: memoryview, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """The tensor that `raw` holds, without a copy. Raises BadInference when its size is not that of `shape`."""
    dtype = NUMERIC[datatype]
    expected = prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise BadInference(f"images: got {len(raw)} bytes, expected {expected} for {datatype} {list(shape)}")
    return np.frombuffer(raw, dtype).reshape(shape)


def numbers_of_json(data: object, datatype: str, shape: Sequence[int]) -> NDArray[Any]:
    """The tensor of a JSON array, flat or nested like `shape`; FP32 takes the nearest float32 of every number.

    Raises BadInference for anything but numbers, for UINT8 other than whole ones up to 255, or another size.
    """
    try:
        values = np.array(data)
    except (ValueError, OverflowError):
        values = np.array(None)
    if values.dtype.kind not in ("iu" if datatype == "UINT8" else "iuf") or values.ndim == 0:
        raise BadInference(
            f"images: expected data as an array of {datatype} numbers, flat or nested like its shape"
        )
    if values.shape not in (tuple(shape), (prod(shape),)):
        raise BadInference(
            f"images: got data of shape {list(values.shape)}, expected {list(shape)}, flat or nested"
        )
    if datatype == "UINT8" and not np.all((values >= 0) & (values <= 255)):
        raise BadInference("images: got a number outside 0 to 255 in data, expected UINT8")
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as a pixel
        return values.astype(NUMERIC[datatype]).reshape(shape)


def elements(raw: memoryview, count: int) -> list[bytes]:
    """The `count` elements of a BYTES tensor, each after its length as u32. Raises BadInference."""
    found: list[bytes] = []
    offset = 0
    while offset < len(raw) and len(found) < count:
        start = offset + _LENGTH.size
        if start > len(raw):
            break
        offset = start + _LENGTH.unpack_from(raw, offset)[0]
        found.append(bytes(raw[start:offset]))
    if offset != len(raw) or len(found) != count:
        raise BadInference(
            f"images: got {len(raw)} bytes of BYTES that do not hold {count} elements, each after its length as a "
            "little-endian u32"
        )
    return found


def pack(texts: Iterable[bytes]) -> bytes:
    """The bytes of a BYTES tensor."""
    return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
