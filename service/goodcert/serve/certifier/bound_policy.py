"""Which queue of a model is asked for a bound, by which method; and what becomes of an answer that is unsound."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from goodcert.engine import Method
from goodcert.engine.methods import undecided
from goodcert.engine.radius import RadiusSearch
from goodcert.images.preprocess import Prepared
from goodcert.serve.batching.lanes import Priority
from goodcert.serve.core.errors import DeadlineExceeded, EngineUnsound, QueueFull
from goodcert.serve.repository.model import ImageBatcher, ServedModel
from goodcert.serve.repository.predictor import Answer
from goodcert.serve.telemetry.metrics import Metrics

X = TypeVar("X")


class BoundPolicy:
    """Asks for bounds; deadlines are times of the event loop's clock. Raises UnsoundModel, CrownUnavailable, and
    what `Batcher.submit` does, EngineUnsound among it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def bound(
        self, model: ServedModel, prepared: Prepared, method: Method, priority: Priority, deadline: float
    ) -> Answer:
        """auto asks crown where ibp leaves a rejected image uncertified, and keeps the answer of ibp, which holds
        as well, where crown does not come back within half of the time that is left."""
        answer = await self._ask(model, model.require_method(method), prepared, priority, deadline)
        crown, threshold = model.crown_batcher, model.metadata.threshold
        if method != "auto" or crown is None or not undecided(answer.confidence, answer.upper, threshold):
            return answer
        now = asyncio.get_running_loop().time()
        try:
            return await self._ask(model, crown, prepared, priority, now + (deadline - now) / 2)
        except (QueueFull, DeadlineExceeded):
            self._metrics.crown_missed.inc()
            return answer

    async def bound_all(
        self, model: ServedModel, inputs: Sequence[Prepared], priority: Priority, deadline: float
    ) -> list[Answer]:
        """By ibp, balls of one kind: all are queued, or none."""
        size_bytes = inputs[0].size_bytes
        asked = model.batcher.submit_all(inputs, size_bytes=size_bytes, deadline=deadline, priority=priority)
        return await self._believed(model, asked)

    async def radius(
        self, model: ServedModel, around: Callable[[float], Prepared], priority: Priority, deadline: float
    ) -> float | None:
        """The largest epsilon that ibp finds certified; None where none is. around: from epsilon to a ball."""
        search = RadiusSearch()
        while search.epsilons:
            answers = await self.bound_all(model, [*map(around, search.epsilons)], priority, deadline)
            search.tell([answer.upper <= model.metadata.threshold for answer in answers])
        return search.found

    async def _ask(
        self, model: ServedModel, batcher: ImageBatcher, prepared: Prepared, priority: Priority, deadline: float
    ) -> Answer:
        size_bytes = prepared.size_bytes
        asked = batcher.submit(prepared, size_bytes=size_bytes, deadline=deadline, priority=priority)
        return await self._believed(model, asked)

    async def _believed(self, model: ServedModel, asked: Awaitable[X]) -> X:
        """A model that contradicts itself is taken out of service, and nothing that it says meanwhile counts."""
        try:
            said = await asked
        except EngineUnsound as error:
            self._metrics.unsound.inc()
            model.condemn(error)
            raise
        model.require_sound()
        return said
