"""Tensors on the wire: little-endian bytes or JSON in, little-endian bytes out."""

import struct
from collections.abc import Iterable, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from goodcert.serve.core.errors import BadInference

NUMERIC: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
# So many numbers at a time that the interpreter is not kept for long from whoever waits for it.
_PART = 2**14
_KINDS: dict[str, set[type]] = {"FP32": {int, float}, "UINT8": {int}}
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
    values = _flat(data, shape)
    parts = (values[start : start + _PART] for start in range(0, len(values), _PART))
    return np.concatenate([_array(part, datatype) for part in parts]).reshape(shape)


def _array(values: list[Any], datatype: str) -> NDArray[Any]:
    # Looked at before numpy does: it would make room for the longest text in every place.
    if not set(map(type, values)) <= _KINDS[datatype]:
        raise BadInference(f"images: expected data of {datatype} numbers only")
    if datatype == "UINT8" and not 0 <= min(values) <= max(values) <= 255:
        raise BadInference("images: got a number outside 0 to 255 in data, expected UINT8")
    with np.errstate(over="ignore"):  # what is too large becomes infinite and is refused as a pixel
        return np.array(values, dtype=np.float64).astype(NUMERIC[datatype])


def _flat(data: object, shape: Sequence[int]) -> list[Any]:
    """The elements in their order. Raises BadInference unless they are flat or nested like `shape`."""
    if isinstance(data, list) and len(data) == prod(shape) and not isinstance(data[0], list):
        return data
    level: list[Any] = [data]
    for size in shape:
        if not all(isinstance(row, list) and len(row) == size for row in level):
            raise BadInference(f"images: expected data as a JSON array of shape {list(shape)}, flat or nested")
        level = list(chain.from_iterable(level))
    return level


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
