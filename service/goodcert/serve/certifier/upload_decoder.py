"""From the bytes of an upload to its image, and the balls around it: small images on the event loop, large ones in
threads, so that they do not hold up the others."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter
from typing import NamedTuple

from goodcert.artifact import Metadata
from goodcert.engine.threads import cores
from goodcert.images.decode import Decoded, Opened, decode, open_image
from goodcert.images.preprocess import Prepared, balls
from goodcert.serve.batching import threads
from goodcert.serve.batching.threads import INLINE_BYTES

INLINE_PIXELS = 256 * 256
"""As INLINE_BYTES, for what unfolds: the header of a small file says whether it unfolds into a large image."""


class DecodedUpload(NamedTuple):
    """around: from epsilon to the ball around the image. seconds: what it took."""

    image: Decoded
    around: Callable[[float], Prepared]
    seconds: float


class UploadDecoder:
    """Owns the threads: as many as cores, as more would only hold more decoded images in memory at once."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(cores(), thread_name_prefix="decode")

    async def decode(self, upload: bytes, metadata: Metadata, deadline: float) -> DecodedUpload:
        """Raises ImageRefused and DeadlineExceeded."""
        if len(upload) <= INLINE_BYTES:
            started, image = perf_counter(), open_image(upload, self._max_pixels)
            if image.width * image.height <= INLINE_PIXELS:
                return _decoded(upload, image, metadata, started)
        return await threads.run(partial(self._open, upload, metadata), deadline, self._threads)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def _open(self, upload: bytes, metadata: Metadata) -> DecodedUpload:
        started = perf_counter()
        return _decoded(upload, open_image(upload, self._max_pixels), metadata, started)


def _decoded(upload: bytes, opened: Opened, metadata: Metadata, started: float) -> DecodedUpload:
    image = decode(upload, opened)
    around = balls(image, metadata)
    return DecodedUpload(image, around, perf_counter() - started)
