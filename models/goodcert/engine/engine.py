"""The engine: prediction and bound of one classifier, side by side."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goodcert.bounds.ball import Ball, around
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.engine.certificates import Certificates
from goodcert.engine.crown_engine import Tighten
from goodcert.engine.errors import EngineError
from goodcert.engine.methods import Method, undecided
from goodcert.engine.prediction import confidence
from goodcert.engine.radius import radii


class Evaluation(NamedTuple):
    """What runs for N balls: logits (N, K) at their points, float32, and margins (N, K, K) over them, float64."""

    logits: NDArray[np.float32]
    margins: NDArray[np.float64]


CHUNK = 64
"""The most rows that are evaluated at once."""

_MARGINS = 2**24
"""The most margins that are made at once (128 MiB)."""


class Engine:
    """Certifies batches of images. Made by `goodcert.engine.compile`. Thread-safe.

    classes: K. input_shape: (C, H, W). device: where the bounds are computed, `cpu` or `cuda`.
    bit_identical: whether an image gets the same bits whatever its batch.
    tighten: makes bounds of `crown`, or the reason why this model has none. heads: as of `admission.Classifier`.
    """

    def __init__(
        self,
        logits: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        evaluate: Callable[[Ball], Evaluation],
        classes: int,
        input_shape: tuple[int, int, int],
        device: str,
        tighten: Tighten | str = "made without it",
        heads: frozenset[str] = frozenset(),
    ) -> None:
        self.logits = logits
        self.evaluate = evaluate
        self.classes = classes
        self.input_shape = input_shape
        self.device = device
        self.heads = heads
        self.bit_identical = device == "cpu"
        self._tighten = tighten

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that this model has; `auto`, which takes what there is, always works."""
        return ("ibp", "crown") if self.without_crown is None else ("ibp",)

    @property
    def without_crown(self) -> str | None:
        """Why this model has no linear bounds, by node and operator; None where it has them."""
        return self._tighten if isinstance(self._tighten, str) else None

    def certify(
        self,
        images: NDArray[np.float32] | NDArray[np.uint8],
        epsilon: ArrayLike,
        method: Method = "ibp",
        threshold: float | None = None,
    ) -> Certificates:
        """Certificates of images (N, C, H, W): uint8, or float32 in [0, 1]; epsilon in [0, 1], one or (N,).

        method: `ibp`; `crown`, which is tighter and hundreds of times slower; or `auto`, crown for the images that
        ibp leaves undecided at `threshold` (methods.py), where the model has it.
        Raises ValueError for images of another shape, dtype or range, or another epsilon or method, and
        EngineError, by node and operator, for `crown` where the model has none.
        """
        return self.certify_balls(self._around(images, epsilon), method, threshold)

    def certify_balls(self, ball: Ball, method: Method = "ibp", threshold: float | None = None) -> Certificates:
        """Certificates of balls (N, C, H, W); the confidence is that of their points."""
        if method not in ("ibp", "crown", "auto") or (method == "auto" and threshold is None):
            raise ValueError(f"method: got {method!r}, expected ibp, crown, or auto with a threshold")
        certificates = self.conclude(self.propagate(ball))
        if method == "crown":
            return self._tightened(certificates, ball, np.arange(len(ball.point)))
        if threshold is not None and method == "auto" and "crown" in self.methods:
            hard = undecided(certificates.confidence, certificates.confidence_upper_bound, threshold)
            return self._tightened(certificates, ball, np.flatnonzero(hard))
        return certificates

    def certified_radius(
        self, images: NDArray[np.float32] | NDArray[np.uint8], threshold: float, method: Method = "ibp"
    ) -> NDArray[np.float64]:
        """(N,) the largest epsilon, to four decimals, at which the upper bound was found at or below `threshold`;
        NaN where it is not even at 0. Four passes, with up to 11 epsilons an image each (radius.py)."""

        def certified(rows: NDArray[np.int64], epsilons: NDArray[np.float64]) -> NDArray[np.bool_]:
            bounds = self.certify(images[rows], epsilons, method, threshold).confidence_upper_bound
            return np.asarray(bounds <= threshold)

        return radii(len(images), certified)

    def _around(self, images: NDArray[np.float32] | NDArray[np.uint8], epsilon: ArrayLike) -> Ball:
        if images.shape[1:] != self.input_shape or not len(images):
            expected = ", ".join(map(str, self.input_shape))
            raise ValueError(f"images: got shape {images.shape}, expected (N, {expected}) with N at least 1")
        return around(images, epsilon)

    def propagate(self, ball: Ball) -> list[Evaluation]:
        """By ibp, so many rows at a time that memory is bounded: nearly all of the time of `certify_balls`, and
        without the interpreter's lock."""
        rows = max(1, min(CHUNK, _MARGINS // self.classes**2))
        slices = [slice(start, start + rows) for start in range(0, len(ball.point), rows)]
        return [self.evaluate(Ball(*(x[chosen] for x in ball))) for chosen in slices]

    def conclude(self, evaluations: Sequence[Evaluation]) -> Certificates:
        """The certificates of what `propagate` gave."""
        parts = [_certificates(evaluation) for evaluation in evaluations]
        return Certificates.concatenate(parts) if len(parts) > 1 else parts[0]

    def _tightened(self, certificates: Certificates, ball: Ball, rows: NDArray[np.int64]) -> Certificates:
        """With the bounds of `rows` made anew by crown."""
        if isinstance(self._tighten, str):
            raise EngineError(f"crown: {self._tighten}")
        names = ("confidence_upper_bound", "confidence_lower_bound", "margins")
        known = tuple(getattr(certificates, name)[rows] for name in names)
        tighter = self._tighten(Ball(*(part[rows] for part in ball)), known)
        fields = {name: np.array(getattr(certificates, name)) for name in (*names, "method")}
        for name, values in zip(fields, (*tighter, "crown"), strict=True):
            fields[name][rows] = values
        return replace(certificates, **fields)


def _certificates(evaluation: Evaluation) -> Certificates:
    logits, margins = evaluation
    return Certificates(
        index=logits.argmax(axis=1),
        confidence=confidence(logits),
        confidence_lower_bound=confidence_lower_bound(margins),
        confidence_upper_bound=confidence_upper_bound(margins),
        margins=margins,
        method=np.full(len(logits), "ibp", dtype="<U5"),
    )
