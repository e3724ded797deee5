"""The heart: from the bytes of one upload to its certificate. Knows nothing of HTTP."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple
from uuid import uuid4

from PIL import Image

from goodcert.artifact import Metadata
from goodcert.bounds.ball import parse_epsilon
from goodcert.serve.decode import Decoded, decode, open_image
from goodcert.serve.errors import BadEpsilon, DeadlineExceeded, EngineUnsound
from goodcert.serve.metrics import Metrics
from goodcert.serve.predictor import Answer
from goodcert.serve.preprocess import Prepared, Scope, prepare
from goodcert.serve.repository import ServedModel
from goodcert.serve.verdict import Verdict, judge

# Up to here decoding takes less time than a thread hop and the wait for it are worth.
INLINE_BYTES = 64 * 2**10
INLINE_PIXELS = 256 * 256


class Radius(NamedTuple):
    """An epsilon: `told` is the number of the request, `certified` the float64 at or above it."""

    told: float
    certified: float


@dataclass(frozen=True)
class Certificate:
    """Everything about one answer, before it is given a shape for the wire."""

    id: str
    model: ServedModel
    image: Decoded
    radius: Radius
    scope: Scope
    answer: Answer
    verdict: Verdict
    issued_at: datetime


@lru_cache(maxsize=256)
def parse_radius(text: str) -> Radius:
    """Read one decimal in [0, 1]. Raises BadEpsilon."""
    try:
        return Radius(float(text), parse_epsilon(text))
    except ValueError as error:
        raise BadEpsilon from error


class Certifier:
    """Certifies uploads; owns the threads in which large images are decoded."""

    def __init__(self, max_pixels: int, metrics: Metrics) -> None:
        self._max_pixels = max_pixels
        self._metrics = metrics
        # As many as cores: more would only hold more decoded images in memory at once.
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")

    async def certify(self, upload: bytes, model: ServedModel, radius: Radius, deadline: float) -> Certificate:
        """The certificate of one upload; `deadline` is a time of the event loop's clock.

        Raises ServeError: ImageRefused, Overload, EngineFault, ModelUnavailable.
        """
        started = perf_counter()
        model.require_sound()
        image, prepared = await self._prepare(upload, model.metadata, radius.certified, deadline)
        self._metrics.stages["decode",].observe(perf_counter() - started)
        answer = await self._ask(model, prepared, deadline)
        certificate = _issue(model, image, radius, prepared.scope, answer)
        self._metrics.record_answer(model.name, certificate.verdict, answer.confidence, answer.upper)
        self._metrics.stages["total",].observe(perf_counter() - started)
        return certificate

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def _prepare(
        self, upload: bytes, metadata: Metadata, epsilon: float, deadline: float
    ) -> tuple[Decoded, Prepared]:
        """Small images here and now, large ones in a thread, so that they do not hold up the others."""

        def work(image: Image.Image) -> tuple[Decoded, Prepared]:
            decoded = decode(upload, image)
            return decoded, prepare(decoded, metadata, epsilon)

        def work_on_large() -> tuple[Decoded, Prepared]:
            return work(open_image(upload, self._max_pixels))

        # The header of a small file says whether it unfolds into a large image.
        if len(upload) <= INLINE_BYTES:
            image = open_image(upload, self._max_pixels)
            if image.width * image.height <= INLINE_PIXELS:
                return work(image)
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work_on_large)
        except TimeoutError as error:
            raise DeadlineExceeded from error

    async def _ask(self, model: ServedModel, prepared: Prepared, deadline: float) -> Answer:
        size_bytes = sum(array.nbytes for array in prepared.ball)
        try:
            answer = await model.batcher.submit(prepared, size_bytes=size_bytes, deadline=deadline)
        except EngineUnsound as error:
            self._metrics.unsound.inc()
            model.condemn(error)
            raise
        model.require_sound()  # a neighbour may have shown meanwhile that nothing it says may be believed
        return answer


def _issue(model: ServedModel, image: Decoded, radius: Radius, scope: Scope, answer: Answer) -> Certificate:
    threshold = model.metadata.threshold
    verdict = judge(answer.lower, answer.confidence, answer.upper, len(answer.possible), threshold)
    return Certificate(uuid4().hex, model, image, radius, scope, answer, verdict, datetime.now(UTC))
