"""A form of images: a certificate for each, and in the place of one that is refused, why."""

import asyncio
import math
from typing import Any

from goodcert.engine.radius import WIDTH
from goodcert.images.errors import CodedError
from goodcert.serve.batching.lanes import BULK_SHARE
from goodcert.serve.http.multipart import images_of
from goodcert.serve.http.params import CertifyParams
from goodcert.serve.http.schemas import certificate_body
from goodcert.serve.http.service import Service
from goodcert.serve.recording.recorder import Reply
from goodcert.serve.settings.settings import Settings


async def certify_form(service: Service, asked: CertifyParams, body: bytes) -> Reply:
    """Several images are always bulk. Raises MalformedMultipart, UnknownPart, NoImages."""
    images = await asyncio.to_thread(images_of, body, asked.content_type)
    if len(images) > 1:
        asked = asked._replace(question=asked.question._replace(priority="bulk"))
    return asked.seal.all(await _certify_each(service, images, asked), images)


async def _certify_each(service: Service, images: list[bytes], asked: CertifyParams) -> list[dict[str, Any]]:
    """One entry per image, in order; so many at once that the engine stays busy, and a form neither crowds itself
    out nor holds up another by more than a batch."""
    entries: list[dict[str, Any]] = [{} for _ in images]
    waiting = iter(enumerate(images))

    async def work() -> None:
        for place, image in waiting:
            try:
                made = await service.certifier.certify(image, asked.model, asked.question, asked.deadline)
                entries[place] = certificate_body(made)
            except CodedError as error:
                entries[place] = {"error": service.answers.body(error)}

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(len(images), _at_once(service.settings, asked))):
            workers.create_task(work())
    return entries


def _at_once(settings: Settings, asked: CertifyParams) -> int:
    """One batch runs, and the next one waits."""
    ball_bytes = 3 * 4 * math.prod(asked.model.engine.input_shape)  # a ball is three float32 arrays
    batches = 2 * max(1, settings.max_batch // BULK_SHARE)
    most = min(batches, settings.max_queue_items, settings.max_queue_bytes // ball_bytes)
    return max(1, most // (WIDTH if asked.question.search else 1))
