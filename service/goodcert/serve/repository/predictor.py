"""What the service asks of an engine, and the way of a batch through it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap
from math import prod
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball, ByteBall, unfold
from goodcert.engine import Method
from goodcert.engine.certificates import Certificates
from goodcert.engine.engine import Evaluation
from goodcert.images.preprocess import Prepared
from goodcert.serve.core.errors import EngineUnsound, UnsoundModel

INLINE_NUMBERS = 2**18
"""Pixels or margins of a batch, up to which stacking it and reading its answers takes the loop a millisecond."""


class ServingEngine(Protocol):
    """A compiled model. On a CPU every row of an answer is the same to the bit whatever else is in the batch."""

    @property
    def classes(self) -> int: ...
    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image, as the file states it."""

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

    def propagate(self, ball: Ball) -> list[Evaluation]:
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


Outcomes: TypeAlias = tuple[Answer | EngineUnsound | UnsoundModel, ...]
"""One an image, in order: EngineUnsound in the place of one that contradicts itself, and then UnsoundModel in the
places of the others: nothing that was said in the same breath may be believed."""


class IbpWork:
    """A batch by ibp; one that would hold up the event loop is left to the engine's thread from end to end."""

    def __init__(self, engine: ServingEngine) -> None:
        self._engine = engine

    def prepare(self, batch: Sequence[Prepared]) -> Ball | Sequence[Prepared]:
        numbers = len(batch) * max(prod(self._engine.input_shape), self._engine.classes**2)
        return batch if numbers > INLINE_NUMBERS else _stack(batch)

    def run(self, batch: Ball | Sequence[Prepared]) -> list[Evaluation] | Outcomes:
        return self._engine.propagate(batch) if isinstance(batch, Ball) else predict(self._engine, batch)

    def finish(self, done: list[Evaluation] | Outcomes) -> Outcomes:
        return done if isinstance(done, tuple) else _outcomes(self._engine.conclude(done))


class CrownWork:
    """A batch by crown, in the engine's thread from end to end: it takes so long that nothing else counts."""

    def __init__(self, engine: ServingEngine) -> None:
        self._engine = engine

    def prepare(self, batch: Sequence[Prepared]) -> Sequence[Prepared]:
        return batch

    def run(self, batch: Sequence[Prepared]) -> Outcomes:
        return predict(self._engine, batch, "crown")

    def finish(self, done: Outcomes) -> Outcomes:
        return done


def predict(engine: ServingEngine, batch: Sequence[Prepared], method: Method = "ibp") -> Outcomes:
    """A batch by the method, from end to end."""
    return _outcomes(engine.certify_balls(_stack(batch), method))


def _stack(batch: Sequence[Prepared]) -> Ball:
    balls = [prepared.ball for prepared in batch]
    of_bytes = [ball for ball in balls if isinstance(ball, ByteBall)]
    if len(of_bytes) == len(balls):
        return unfold(of_bytes)
    unfolded = [ball.unfold() if isinstance(ball, ByteBall) else ball for ball in balls]
    return Ball(*(np.stack(arrays) for arrays in zip(*unfolded, strict=True)))


def _outcomes(certificates: Certificates) -> Outcomes:
    rows = zip(
        certificates.index.tolist(),
        certificates.confidence.tolist(),
        certificates.confidence_lower_bound.tolist(),
        certificates.confidence_upper_bound.tolist(),
        _classes(certificates.possible()),
        certificates.method.tolist(),
        strict=True,
    )
    answers, sound = tuple(starmap(Answer, rows)), certificates.sound().tolist()
    if all(sound):
        return answers
    return tuple(
        UnsoundModel()
        if holds
        else EngineUnsound(f"lower {a.lower!r}, confidence {a.confidence!r}, upper {a.upper!r}")
        for holds, a in zip(sound, answers, strict=True)
    )


def _classes(possible: NDArray[np.bool_]) -> list[tuple[int, ...]]:
    """The columns that hold, row by row."""
    columns = possible.nonzero()[1].tolist()
    ends = possible.sum(axis=1).cumsum().tolist()
    return [tuple(columns[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
