"""The heart: from the bytes of one upload to its certificate. Knows nothing of HTTP."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache, partial
from time import perf_counter
from typing import NamedTuple

from goodcert.artifact import Metadata
from goodcert.bounds.ball import parse_epsilon
from goodcert.engine import Method
from goodcert.engine.radius import search
from goodcert.engine.threads import cores
from goodcert.serve.batching import threads
from goodcert.serve.batching.lanes import Priority
from goodcert.serve.batching.threads import INLINE_BYTES
from goodcert.serve.certifier.refusal_throttle import RefusalThrottle
from goodcert.serve.core import certificate_ids
from goodcert.serve.core.errors import BadEpsilon, DeadlineExceeded, EngineUnsound, QueueFull
from goodcert.serve.core.verdict import Verdict, judge
from goodcert.serve.images.decode import Decoded, Opened, decode, open_image
from goodcert.serve.images.preprocess import Prepared, Scope, balls
from goodcert.serve.repository.predictor import Answer
from goodcert.serve.repository.repository import ImageBatcher, ServedModel
from goodcert.serve.telemetry.metrics import Metrics

# As INLINE_BYTES, for what unfolds.
INLINE_PIXELS = 256 * 256


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


class Around(NamedTuple):
    """A decoded upload. ball: from epsilon to the ball around it. seconds: what it took."""

    image: Decoded
    ball: Callable[[float], Prepared]
    seconds: float


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
        self._threads = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        self._throttle = RefusalThrottle()

    async def require_room(
        self, model: ServedModel, question: Question, deadline: float, size_bytes: int, count: int = 1
    ) -> None:
        """Asked before images are made ready, so that refusing them costs little; refusals beyond a rate are told
        late. size_bytes: of the body, which counts as under way until then; large ones are not kept for that.

        Raises QueueFull or ShuttingDown.
        """
        batcher = model.crown_batcher if question.method == "crown" else model.batcher
        if batcher is None:
            return
        try:
            batcher.require_room(question.priority, deadline, count)
        except QueueFull:
            now = asyncio.get_running_loop().time()
            if size_bytes <= INLINE_BYTES:
                await asyncio.sleep(min(self._throttle.delay(now), max(deadline - now, 0)))
            raise

    async def certify(self, upload: bytes, model: ServedModel, question: Question, deadline: float) -> Certificate:
        """The certificate of one upload; `deadline` is a time of the event loop's clock.

        Raises ServeError: ImageRefused, Overload, EngineFault, ModelUnavailable, CrownUnavailable.
        """
        started = perf_counter()
        model.require_sound()
        await self.require_room(model, question, deadline, len(upload))
        around = await self._prepare(upload, model.metadata, deadline)
        self._metrics.stages["decode",].observe(around.seconds)
        prepared = around.ball(question.radius.certified)
        answer = await self._answer(model, prepared, question, deadline)
        largest = await self._largest(model, around.ball, question, answer, deadline)
        certificate = _issue(model, around.image, question.radius, prepared.scope, answer, largest)
        self._metrics.record_answer(model.name, certificate.verdict, answer.confidence, answer.upper)
        self._metrics.stages["total",].observe(perf_counter() - started)
        return certificate

    async def certify_input(
        self, prepared: Prepared, model: ServedModel, question: Question, deadline: float
    ) -> tuple[Answer, Verdict]:
        """The answer about a ball at the model's own input, (C, H, W), and its verdict; raises like `certify`."""
        started = perf_counter()
        model.require_sound()
        answer = await self._answer(model, prepared, question, deadline)
        return self._told(model, answer, started)

    async def certify_inputs(
        self, inputs: Sequence[Prepared], model: ServedModel, question: Question, deadline: float
    ) -> list[tuple[Answer, Verdict]]:
        """The same for several balls of one kind by ibp: all are queued, or none."""
        started = perf_counter()
        model.require_sound()
        answers = await self._ask_all(model, inputs, deadline, question.priority)
        return [self._told(model, answer, started) for answer in answers]

    def _told(self, model: ServedModel, answer: Answer, started: float) -> tuple[Answer, Verdict]:
        verdict = _verdict(model, answer)
        self._metrics.record_answer(model.name, verdict, answer.confidence, answer.upper)
        self._metrics.stages["total",].observe(perf_counter() - started)
        return answer, verdict

    def _condemn(self, model: ServedModel, error: EngineUnsound) -> None:
        self._metrics.unsound.inc()
        model.condemn(error)

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def _prepare(self, upload: bytes, metadata: Metadata, deadline: float) -> Around:
        """Small images on the loop; large ones in a thread, so that they do not hold up the others."""
        if len(upload) <= INLINE_BYTES:
            around = self._prepare_small(upload, metadata)
            if around is not None:
                return around
        return await threads.run(partial(self._prepare_large, upload, metadata), deadline, self._threads)

    def _prepare_small(self, upload: bytes, metadata: Metadata) -> Around | None:
        """None for a large one: the header of a small file says whether it unfolds into one."""
        started = perf_counter()
        image = open_image(upload, self._max_pixels)
        if image.width * image.height > INLINE_PIXELS:
            return None
        return _around(upload, image, metadata, started)

    def _prepare_large(self, upload: bytes, metadata: Metadata) -> Around:
        started = perf_counter()
        return _around(upload, open_image(upload, self._max_pixels), metadata, started)

    async def _answer(self, model: ServedModel, prepared: Prepared, question: Question, deadline: float) -> Answer:
        """By `method`; auto asks crown where ibp leaves a rejected image uncertified, and keeps the answer of ibp,
        which holds as well, where crown does not come back within half of the time that is left."""
        model.require_method(question.method)
        priority, crown = question.priority, model.crown_batcher
        if question.method == "crown" and crown is not None:
            return await self._ask(model, crown, prepared, deadline, priority)
        answer = await self._ask(model, model.batcher, prepared, deadline, priority)
        if question.method != "auto" or crown is None:
            return answer
        if _verdict(model, answer) is not Verdict.OUT_OF_DISTRIBUTION:
            return answer
        now = asyncio.get_running_loop().time()
        try:
            return await self._ask(model, crown, prepared, now + (deadline - now) / 2, priority)
        except (QueueFull, DeadlineExceeded):
            self._metrics.crown_missed.inc()
            return answer

    async def _largest(
        self,
        model: ServedModel,
        around: Callable[[float], Prepared],
        question: Question,
        answer: Answer,
        deadline: float,
    ) -> float | None:
        """The largest epsilon that ibp finds certified, or the one that was asked about where its own bound, by
        whatever method, reaches further; None where there is none, or none is wanted."""
        threshold = model.metadata.threshold
        if not question.search or answer.confidence > threshold:
            return None
        steps = search()
        tried = next(steps)
        while True:
            answers = await self._ask_all(model, [around(each) for each in tried], deadline, question.priority)
            try:
                tried = steps.send([each.upper <= threshold for each in answers])
            except StopIteration as end:
                found = [end.value] if end.value is not None else []
                own = [question.radius.told] if answer.upper <= threshold else []
                return max(found + own, default=None)

    async def _ask(
        self, model: ServedModel, batcher: ImageBatcher, prepared: Prepared, deadline: float, priority: Priority
    ) -> Answer:
        try:
            answer = await batcher.submit(
                prepared, size_bytes=prepared.size_bytes, deadline=deadline, priority=priority
            )
        except EngineUnsound as error:
            self._condemn(model, error)
            raise
        model.require_sound()  # a neighbour may have shown meanwhile that nothing it says may be believed
        return answer

    async def _ask_all(
        self, model: ServedModel, inputs: Sequence[Prepared], deadline: float, priority: Priority
    ) -> list[Answer]:
        """By ibp, about balls of one kind: all are queued, or none."""
        size_bytes = inputs[0].size_bytes
        try:
            answers = await model.batcher.submit_all(
                inputs, size_bytes=size_bytes, deadline=deadline, priority=priority
            )
        except EngineUnsound as error:
            self._condemn(model, error)
            raise
        model.require_sound()
        return answers


def _around(upload: bytes, image: Opened, metadata: Metadata, started: float) -> Around:
    decoded = decode(upload, image)
    ball = balls(decoded, metadata)
    return Around(decoded, ball, perf_counter() - started)


def _issue(
    model: ServedModel, image: Decoded, radius: Radius, scope: Scope, answer: Answer, largest: float | None
) -> Certificate:
    verdict = _verdict(model, answer)
    return Certificate(
        certificate_ids.new(), model, image, radius, scope, answer, verdict, largest, datetime.now(UTC)
    )


def _verdict(model: ServedModel, answer: Answer) -> Verdict:
    threshold = model.metadata.threshold
    return judge(answer.lower, answer.confidence, answer.upper, len(answer.possible), threshold)
