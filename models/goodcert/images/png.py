"""A fast path for small plain PNGs, which is what monitors send: Pillow's decoder without its parser of chunks.

The parser, in Python, takes most of the time of such an image. Plain is a file of header, image data and end chunk
and nothing else, with right checksums, 8 bits a sample, grey or colour, not interlaced. Any other file, broken
ones included, is left to `Image.open`.

Benchmark: `goodcert bench serve --nets S`, in turns with a tree that differs in this alone. A certificate takes
more than 10 % more processor time by `Image.open`, and 5.6 % (16 connections) and 4.3 % (64) more by the public
`Image.frombytes`. Libraries that decode PNG faster (pyspng, kornia-rs) accept image data with a wrong Adler-32
checksum, which Pillow refuses.
"""

import struct
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_PIXELS = 256 * 256
"""In larger images decoding outweighs the parser."""
MOST_PIECES = 64
"""Encoders write so small an image into a few chunks of data; files with more are left to `Image.open`."""

_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_HEADER = struct.Struct(">II5sI")  # width, height; depth, colour, compression, filter, interlace; checksum
_DATA = len(_START) + _HEADER.size
_MODES = {b"\x08\x00\x00\x00\x00": "L", b"\x08\x02\x00\x00\x00": "RGB"}


class PlainPng(NamedTuple):
    """A file whose parts are in order. stream: its image data, filtered and compressed."""

    mode: str
    width: int
    height: int
    stream: bytes

    def pixels(self) -> NDArray[np.uint8] | None:
        """(H, W) or (H, W, 3); None where the stream is broken."""
        try:
            data = self._unfiltered()
        except Exception:  # noqa: BLE001  of any type: `Image.open` judges what is wrong
            return None
        channels = () if self.mode == "L" else (3,)
        return np.frombuffer(data, np.uint8).reshape(self.height, self.width, *channels)

    def _unfiltered(self) -> bytes:
        """What `frombytes` and `tobytes` do, and no more: half of their time goes into doing it for any mode."""
        core: Any = Image.core  # type: ignore[attr-defined]  # Pillow's own; where it changes, `Image.open` is left
        size, box = (self.width, self.height), (0, 0, self.width, self.height)
        image, decoder = core.new(self.mode, size), core.zip_decoder(self.mode, self.mode, 0)
        decoder.setimage(image, box)
        consumed, error = decoder.decode(self.stream)
        encoder = core.raw_encoder(self.mode, self.mode)
        encoder.setimage(image, box)
        _, done, data = encoder.encode(self.width * self.height * len(self.mode) + 1)
        if consumed >= 0 or error != 0 or done != 1:
            raise ValueError(f"got {consumed}, {error} and {done}, expected a whole image")
        return bytes(data)


def plain(data: bytes) -> PlainPng | None:
    """`data` as a plain PNG; None if it is none, or a large one."""
    if not (data.startswith(_START) and data.endswith(_END) and len(data) >= _DATA + len(_END)):
        return None
    width, height, kind, checksum = _HEADER.unpack_from(data, len(_START))
    if kind not in _MODES or not 0 < width * height <= MOST_PIXELS or crc32(data[12:29]) != checksum:
        return None
    stream = _stream(data)
    return PlainPng(_MODES[kind], width, height, stream) if stream else None


def _stream(data: bytes) -> bytes | None:
    """What the chunks between header and end hold; None unless they are few and all hold image data."""
    pieces: list[bytes] = []
    place, end = _DATA, len(data) - len(_END)
    while place < end and len(pieces) < MOST_PIECES:
        stop = place + 8 + int.from_bytes(data[place : place + 4])
        kind_and_piece = data[place + 4 : stop]
        if kind_and_piece[:4] != b"IDAT" or data[stop : stop + 4] != crc32(kind_and_piece).to_bytes(4):
            return None
        pieces.append(kind_and_piece[4:])
        place = stop + 4
    return b"".join(pieces) if place == end else None
