"""The JSON of a request with a long array of numbers, which is read in pieces.

Read as a whole it would hold up the event loop from any thread: a call into C keeps the interpreter until it is
done, and that takes a tenth of a second for 10 MiB.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod
from secrets import token_hex
from time import sleep
from typing import Any, NamedTuple, cast

import numpy as np
import orjson

from goodcert.serve.errors import BadInference
from goodcert.serve.threads import INLINE_BYTES

PIECE_BYTES = 16 * 2**10
# Between two pieces: whoever waits for the interpreter gets it now, and not when 5 ms of asking are over.
_PAUSE_SECONDS = 1e-4

_BEGIN = re.compile(rb'"data"\s*:\s*(?=\[)')
_NESTED = re.compile(rb"\[\s*\[")
_NUMBERS = b"0123456789+-.eE \t\r\n"
# Stands where the array was; who writes a request cannot know it.
_PLACE = token_hex(16)


class LongArray(NamedTuple):
    """An array as text that is not read yet, from its first bracket to its last."""

    text: bytes

    def pieces(self, shape: Sequence[int]) -> Iterator[list[Any]]:
        """The numbers in order, some at a time; the array is flat or nested like `shape`. Raises BadInference.

        Cut at commas, a piece lacks brackets on both sides. Those in it must be where the shape has them; with
        those that it lacks, which follow from the shape, it must be JSON.
        """
        sizes = shape if _NESTED.match(self.text) else (prod(shape),)
        skeleton = _skeleton(sizes, len(self.text))
        seen = depth = count = 0
        for piece in _cut(self.text):
            bones = piece.translate(None, _NUMBERS) + b","
            if not skeleton.startswith(bones, seen):
                raise _misshapen(shape)
            opened, depth = depth, depth + bones.count(b"[") - bones.count(b"]")
            numbers = _numbers(b"[" * opened + piece + b"]" * depth, len(sizes))
            yield numbers
            seen, count = seen + len(bones), count + len(numbers)
            sleep(_PAUSE_SECONDS)
        if count != prod(shape):
            raise _misshapen(shape)


def loads(text: bytes) -> Any:
    """What the text means; of a long one the input's `data` is a LongArray.

    Raises orjson.JSONDecodeError, and BadInference for a long text in which anything else is long.
    """
    if len(text) <= INLINE_BYTES:
        return orjson.loads(text)
    begin = _BEGIN.search(text, 0, INLINE_BYTES)
    end = _end(text, begin.end()) if begin else 0
    if begin is None or begin.end() + len(text) - end > INLINE_BYTES:
        raise _too_long()
    message = orjson.loads(b'%b"%b"%b' % (text[: begin.end()], _PLACE.encode(), text[end:]))
    match message:
        case {"inputs": [{"data": place} as tensor]} if place == _PLACE:
            tensor["data"] = LongArray(text[begin.end() : end])
            return message
    raise _too_long()


def _end(text: bytes, start: int) -> int:
    """Behind the bracket that closes the one at `start`; 0 where there is none."""
    depth = 0
    for position in range(start, len(text), PIECE_BYTES):
        window = np.frombuffer(text, np.uint8, min(PIECE_BYTES, len(text) - position), position)
        depths = depth + np.cumsum((window == ord("[")).astype(np.int64) - (window == ord("]")))
        closed = np.flatnonzero(depths == 0)
        if closed.size:
            return position + int(closed[0]) + 1
        depth = depths[-1]
    return 0


def _skeleton(sizes: Sequence[int], most: int) -> bytes:
    """The brackets and commas of an array, and one comma more; empty where `most` bytes do not hold it."""
    if 2 * prod(sizes) > most:
        return b""
    text = b""
    for size in reversed(sizes):
        text = b"[%b]" % ((text + b",") * size)[:-1]
    return text + b","


def _cut(text: bytes) -> Iterator[bytes]:
    """Pieces between commas some way apart."""
    start = 0
    while start <= len(text):
        comma = text.find(b",", start + PIECE_BYTES)
        stop = comma if comma >= 0 else len(text)
        yield text[start:stop]
        start = stop + 1


def _numbers(text: bytes, depth: int) -> list[Any]:
    """What is in so many arrays inside each other."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadInference("images: data is not valid JSON") from error
    for _ in range(depth - 1):
        found = list(chain.from_iterable(found))
    return cast(list[Any], found)


def _misshapen(shape: Sequence[int]) -> BadInference:
    return BadInference(f"images: expected data as a JSON array of numbers of shape {list(shape)}, flat or nested")


def _too_long() -> BadInference:
    return BadInference(
        f"the request: expected JSON of at most {INLINE_BYTES} bytes beside the data of its one input; with "
        "binary data, send Inference-Header-Content-Length"
    )
