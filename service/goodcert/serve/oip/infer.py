"""The images of one infer request through the shared queue of the model."""

import asyncio
import math
from collections.abc import Coroutine, Sequence
from functools import partial

import numpy as np

from goodcert.bounds.ball import Ball, ByteBall, around_reals
from goodcert.images.errors import ImageRefused
from goodcert.images.preprocess import Prepared
from goodcert.serve.batching import threads
from goodcert.serve.certifier.certifier import Question
from goodcert.serve.core.errors import BadInference
from goodcert.serve.http.problems import problem_of
from goodcert.serve.http.schemas import certificate_body
from goodcert.serve.http.service import Service
from goodcert.serve.oip.infer_request import INPUT, Images, Pixels
from goodcert.serve.oip.infer_response import ImageRow
from goodcert.serve.recording.recorder import Reply
from goodcert.serve.repository.repository import ServedModel
from goodcert.serve.settings.settings import Settings


async def infer(
    service: Service, model: ServedModel, images: Images, question: Question, deadline: float
) -> list[ImageRow]:
    """One row per image, in order; a queue's worth at most at once, so that a request never crowds itself out.

    Raises BadInference, which says which one, for an image that is refused, and ServeError as Certifier does.
    """
    rows: list[ImageRow] = []
    at_once = _at_once(service.settings, model)
    for start in range(0, len(images), at_once):
        chunk = images[start : start + at_once]
        rows += await _answered(service, model, chunk, start, question, deadline)
    await _record(service, rows, images, deadline)
    return rows


async def _answered(
    service: Service, model: ServedModel, chunk: Images, start: int, question: Question, deadline: float
) -> list[ImageRow]:
    size_bytes = sum(map(len, chunk)) if isinstance(chunk, list) else chunk.nbytes
    await service.certifier.require_room(model, question, deadline, size_bytes, len(chunk))
    if isinstance(chunk, list):
        asks = [
            _upload(service, model, upload, number, question, deadline)
            for number, upload in enumerate(chunk, start)
        ]
        return await _together(asks)
    balls = await _balls(chunk, question.radius.certified, deadline)
    inputs = [Prepared(ball, "model_input") for ball in balls]
    if question.method == "ibp":
        told = await service.certifier.certify_inputs(inputs, model, question, deadline)
        return [ImageRow(answer, verdict, "model_input") for answer, verdict in told]
    return await _together([_tensor(service, model, prepared, question, deadline) for prepared in inputs])


async def _upload(
    service: Service, model: ServedModel, upload: bytes, number: int, question: Question, deadline: float
) -> ImageRow:
    try:
        certificate = await service.certifier.certify(upload, model, question, deadline)
    except ImageRefused as error:
        raise BadInference(f"{INPUT}[{number}]: {problem_of(error).detail}") from error
    return ImageRow(certificate.answer, certificate.verdict, certificate.scope, certificate)


async def _tensor(
    service: Service, model: ServedModel, prepared: Prepared, question: Question, deadline: float
) -> ImageRow:
    answer, verdict = await service.certifier.certify_input(prepared, model, question, deadline)
    return ImageRow(answer, verdict, prepared.scope)


async def _balls(pixels: Pixels, epsilon: float, deadline: float) -> Sequence[Ball | ByteBall]:
    """The balls around pixels (N, C, H, W); of many floats in a thread, so that they do not hold up the others."""
    if pixels.dtype == np.uint8:
        return [ByteBall(image, epsilon) for image in pixels.astype(np.uint8, copy=False)]
    return await threads.run_if_large(partial(_around, pixels, epsilon), pixels.nbytes, deadline)


def _around(pixels: Pixels, epsilon: float) -> list[Ball]:
    """float32 in [0, 1] means itself: the same numbers as `Engine.certify` makes."""
    return [Ball(*arrays) for arrays in zip(*around_reals(pixels.astype(np.float64), epsilon), strict=True)]


async def _together(asks: Sequence[Coroutine[None, None, ImageRow]]) -> list[ImageRow]:
    """All or none: the first refusal takes the others out of the queue."""
    if len(asks) == 1:
        return [await asks[0]]
    tasks = [asyncio.create_task(ask) for ask in asks]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        tasks.clear()  # or an error would hold its task, this frame, and so the model


async def _record(service: Service, rows: Sequence[ImageRow], images: Images, deadline: float) -> None:
    """The certificates of uploads are recorded like those of /v1, before anything is sent."""
    if not service.recorder.records:
        return
    bodies = [certificate_body(row.certificate) for row in rows if row.certificate is not None]
    reply = Reply(b"", "", bodies, images if isinstance(images, list) else ())
    await service.recorder.record(reply, deadline)


def _at_once(settings: Settings, model: ServedModel) -> int:
    ball_bytes = 3 * 4 * math.prod(model.engine.input_shape)  # a ball is three float32 arrays
    return max(1, min(settings.max_batch, settings.max_queue_items, settings.max_queue_bytes // ball_bytes))
