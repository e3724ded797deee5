"""What the service asks of an engine, and the way of a batch through it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball, ByteBall, unfold
from goodcert.engine import Method
from goodcert.engine.certificates import Certificates
from goodcert.engine.engine import Evaluation
from goodcert.serve.batching.batcher import Finish, in_thread
from goodcert.serve.core.errors import EngineFailed, EngineUnsound, UnsoundModel
from goodcert.serve.images.preprocess import Prepared

INLINE_NUMBERS = 2**18
"""Pixels or margins of a batch, up to which stacking it and reading its answers takes the loop a millisecond."""


class ServingEngine(Protocol):
    """A compiled model. On a CPU every row of an answer is the same to the bit whatever else is in the batch."""

    @property
    def classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    def device(self) -> str: ...
    @property
    def methods(self) -> tuple[str, ...]:
        """`ibp`, and `crown` where the model has it."""

    @property
    def heads(self) -> frozenset[str]:
        """What the log-odds of a joint model are called in its file; none for any other model."""

    def certify_balls(self, ball: Ball, method: Method = "ibp") -> Certificates:
        """Certify a batch of balls, float32 (N, C, H, W)."""

    def propagate(self, ball: Ball) -> Sequence[Evaluation]:
        """What takes the time of `certify_balls` by ibp, and leaves the interpreter to others meanwhile."""

    def conclude(self, evaluations: Sequence[Evaluation]) -> Certificates:
        """The rest of it."""


class Compile(Protocol):
    """`goodcert.engine.compile`, or a fake; raises ValueError with the reason when it refuses the model."""

    def __call__(self, model: onnx.ModelProto | Path, *, device: str, threads: int | None) -> ServingEngine: ...


@dataclass(slots=True)  # to make a frozen one for every image takes four times as long
class Answer:
    """What the engine says about one image; `possible` are the classes that can win inside the ball, `method` is
    what gave the bounds."""

    index: int
    confidence: float
    lower: float
    upper: float
    possible: tuple[int, ...]
    method: str


def begin(engine: ServingEngine, batch: Sequence[Prepared]) -> Callable[[], Finish[Answer]]:
    """The steps of `predict` by ibp; a batch that would hold up the event loop is left to the engine's thread."""
    numbers = len(batch) * max(prod(engine.input_shape), engine.classes**2)
    if numbers > INLINE_NUMBERS:
        return in_thread(partial(predict, engine))(list(batch))
    ball = _stack(batch)

    def run() -> Finish[Answer]:
        evaluations = engine.propagate(ball)
        return lambda: _answers(engine.conclude(evaluations), len(batch))

    return run


def predict(
    engine: ServingEngine, batch: Sequence[Prepared], method: Method = "ibp"
) -> list[Answer | EngineUnsound | UnsoundModel]:
    """One answer per image, in order; EngineUnsound in the place of one that contradicts itself, and then
    UnsoundModel in the places of the others: nothing that was said in the same breath may be believed."""
    return _answers(engine.certify_balls(_stack(batch), method), len(batch))


def _answers(certificates: Certificates, count: int) -> list[Answer | EngineUnsound | UnsoundModel]:
    if len(certificates.index) != count:
        raise EngineFailed(f"got {len(certificates.index)} answers, expected {count}")
    answers = _unstack(certificates)
    if any(isinstance(answer, EngineUnsound) for answer in answers):
        return [answer if isinstance(answer, EngineUnsound) else UnsoundModel() for answer in answers]
    return list(answers)


def _stack(batch: Sequence[Prepared]) -> Ball:
    balls = [prepared.ball for prepared in batch]
    of_bytes = [ball for ball in balls if isinstance(ball, ByteBall)]
    if len(of_bytes) == len(balls):
        return unfold(of_bytes)
    unfolded = [ball.unfold() if isinstance(ball, ByteBall) else ball for ball in balls]
    return Ball(*(np.stack(arrays) for arrays in zip(*unfolded, strict=True)))


def _unstack(certificates: Certificates) -> list[Answer | EngineUnsound]:
    rows = zip(
        certificates.sound().tolist(),
        certificates.index.tolist(),
        certificates.confidence.tolist(),
        certificates.confidence_lower_bound.tolist(),
        certificates.confidence_upper_bound.tolist(),
        _classes(certificates.possible()),
        certificates.method.tolist(),
        strict=True,
    )
    return [
        Answer(index, confidence, lower, upper, possible, method)
        if sound
        else EngineUnsound(f"lower {lower!r}, confidence {confidence!r}, upper {upper!r}")
        for sound, index, confidence, lower, upper, possible, method in rows
    ]


def _classes(possible: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """The columns that hold, row by row."""
    columns = possible.nonzero()[1].tolist()
    ends = possible.sum(axis=1).cumsum().tolist()
    return [tuple(columns[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
