"""The engine: prediction and bound of one classifier, side by side."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from goodcert.bounds.ball import Ball, around
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.engine.certificates import Certificates
from goodcert.engine.prediction import confidence


class Evaluation(NamedTuple):
    """What runs for N balls: logits (N, K) at their points, float32, and margins (N, K, K) over them, float64."""

    logits: NDArray[np.float32]
    margins: NDArray[np.float64]


class Engine:
    """Certifies batches of images. Made by `goodcert.engine.compile`. Thread-safe.

    classes: K. input_shape: (C, H, W). device: where the bounds are computed, `cpu` or `cuda`.
    bit_identical: whether an image gets the same bits whatever its batch.
    """

    def __init__(
        self,
        logits: Callable[[NDArray[np.float32]], NDArray[np.float32]],
        evaluate: Callable[[Ball], Evaluation],
        classes: int,
        input_shape: tuple[int, int, int],
        device: str,
    ) -> None:
        self.logits = logits
        self.evaluate = evaluate
        self.classes = classes
        self.input_shape = input_shape
        self.device = device
        self.bit_identical = device == "cpu"

    def certify(self, images: NDArray[np.float32] | NDArray[np.uint8], epsilon: ArrayLike) -> Certificates:
        """Certificates of images (N, C, H, W): uint8, or float32 in [0, 1]; epsilon in [0, 1], one or (N,).

        Raises ValueError for images of another shape, dtype or range, or another epsilon.
        """
        if images.shape[1:] != self.input_shape or not len(images):
            expected = ", ".join(map(str, self.input_shape))
            raise ValueError(f"images: got shape {images.shape}, expected (N, {expected}) with N at least 1")
        return self.certify_balls(around(images, epsilon))

    def certify_balls(self, ball: Ball) -> Certificates:
        """Certificates of balls (N, C, H, W); the confidence is that of their points."""
        logits, margins = self.evaluate(ball)
        return Certificates(
            index=logits.argmax(axis=1),
            confidence=confidence(logits),
            confidence_lower_bound=confidence_lower_bound(margins),
            confidence_upper_bound=confidence_upper_bound(margins),
            margins=margins,
        )
