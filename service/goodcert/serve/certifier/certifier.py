"""From the bytes of an upload to its certificate: decoded, made a ball, bounded, judged. Knows nothing of HTTP."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from typing import NamedTuple

from goodcert.bounds.ball import parse_epsilon
from goodcert.engine import Method
from goodcert.images.decode import Decoded
from goodcert.images.preprocess import Prepared, Scope
from goodcert.serve.batching.lanes import Priority
from goodcert.serve.batching.threads import INLINE_BYTES
from goodcert.serve.certifier.bound_policy import BoundPolicy
from goodcert.serve.certifier.refusal_throttle import RefusalThrottle
from goodcert.serve.certifier.upload_decoder import UploadDecoder
from goodcert.serve.core import certificate_ids
from goodcert.serve.core.errors import BadEpsilon, QueueFull
from goodcert.serve.core.verdict import Verdict, judge
from goodcert.serve.repository.model import ServedModel
from goodcert.serve.repository.predictor import Answer
from goodcert.serve.telemetry.metrics import Metrics


class Radius(NamedTuple):
    """An epsilon: `told` is the number of the request, `certified` the float64 at or above it."""

    told: float
    certified: float


class Question(NamedTuple):
    """What is asked about an image, and how urgently. search: whether the certified radius is wanted, too."""

    radius: Radius
    method: Method = "ibp"
    search: bool = False
    priority: Priority = "monitor"


class Certificate(NamedTuple):
    """Everything about one answer, before it is given a shape for the wire."""

    id: str
    model: ServedModel
    image: Decoded
    radius: Radius
    scope: Scope
    answer: Answer
    verdict: Verdict
    certified_radius: float | None
    issued_at: datetime


@lru_cache(maxsize=256)
def parse_radius(text: str) -> Radius:
    """Read one decimal in [0, 1]. Raises BadEpsilon."""
    try:
        return Radius(float(text), parse_epsilon(text))
    except ValueError as error:
        raise BadEpsilon from error


class Certifier:
    """Certifies uploads, and balls at a model's own input; deadlines are times of the event loop's clock.

    Whatever is asked raises ServeError: Overload, EngineFault, ModelUnavailable, CrownUnavailable.
    """

    def __init__(self, max_pixels: int, metrics: Metrics) -> None:
        self._decoder = UploadDecoder(max_pixels)
        self._policy = BoundPolicy(metrics)
        self._throttle = RefusalThrottle()
        self._metrics = metrics

    async def certify(self, upload: bytes, model: ServedModel, question: Question, deadline: float) -> Certificate:
        """The certificate of one upload; also raises ImageRefused."""
        started, radius = perf_counter(), question.radius
        model.require_sound()
        await self.require_room(model, question, deadline, len(upload))
        image, around, seconds = await self._decoder.decode(upload, model.metadata, deadline)
        self._metrics.stages["decode",].observe(seconds)
        prepared = around(radius.certified)
        answer = await self._policy.bound(model, prepared, question.method, question.priority, deadline)
        largest = await self._largest(model, around, question, answer, deadline) if question.search else None
        verdict = self._judge(model, answer, started)
        new = certificate_ids.new()
        now = datetime.now(UTC)
        return Certificate(new, model, image, radius, prepared.scope, answer, verdict, largest, now)

    async def certify_input(
        self, prepared: Prepared, model: ServedModel, question: Question, deadline: float
    ) -> tuple[Answer, Verdict]:
        """The answer about a ball at the model's own input, (C, H, W), and its verdict."""
        started = perf_counter()
        model.require_sound()
        answer = await self._policy.bound(model, prepared, question.method, question.priority, deadline)
        return answer, self._judge(model, answer, started)

    async def certify_inputs(
        self, inputs: Sequence[Prepared], model: ServedModel, question: Question, deadline: float
    ) -> list[tuple[Answer, Verdict]]:
        """The same for several balls of one kind by ibp: all are queued, or none."""
        started = perf_counter()
        model.require_sound()
        answers = await self._policy.bound_all(model, inputs, question.priority, deadline)
        return [(answer, self._judge(model, answer, started)) for answer in answers]

    async def require_room(
        self, model: ServedModel, question: Question, deadline: float, size_bytes: int, count: int = 1
    ) -> None:
        """Asked before images are made ready, so that refusing them costs little; refusals beyond a rate are told
        late. size_bytes: of the body, which counts as under way until then; large ones are not kept for that."""
        batcher = model.require_method(question.method)
        try:
            batcher.require_room(question.priority, deadline, count)
        except QueueFull:
            now = asyncio.get_running_loop().time()
            if size_bytes <= INLINE_BYTES:
                await asyncio.sleep(min(self._throttle.delay(now), max(deadline - now, 0)))
            raise

    def close(self) -> None:
        self._decoder.close()

    async def _largest(
        self,
        model: ServedModel,
        around: Callable[[float], Prepared],
        question: Question,
        answer: Answer,
        deadline: float,
    ) -> float | None:
        """The largest epsilon that ibp finds certified, or the one that was asked about where its own bound, by
        whatever method, reaches further; None where there is none, as where the model vouches for the image."""
        threshold = model.metadata.threshold
        if answer.confidence > threshold:
            return None
        found = await self._policy.radius(model, around, question.priority, deadline)
        own = question.radius.told if answer.upper <= threshold else None
        return max((each for each in (found, own) if each is not None), default=None)

    def _judge(self, model: ServedModel, answer: Answer, started: float) -> Verdict:
        """The verdict, counted, with the time since `started` by `perf_counter`."""
        possible, threshold = len(answer.possible), model.metadata.threshold
        verdict = judge(answer.lower, answer.confidence, answer.upper, possible, threshold)
        self._metrics.record_answer(model.name, verdict, answer.confidence, answer.upper)
        self._metrics.stages["total",].observe(perf_counter() - started)
        return verdict
