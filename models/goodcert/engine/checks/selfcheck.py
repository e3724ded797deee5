"""The self-check at load: the bound engine and the prediction must be talking about the same network."""

import numpy as np
from numpy.typing import NDArray

from goodcert.bounds.ball import around
from goodcert.engine.certificates import Certificates
from goodcert.engine.checks import kernel_check
from goodcert.engine.engine import CHUNK, Engine
from goodcert.engine.errors import EngineError
from goodcert.engine.runtime import ROWS

BATCHES = (*kernel_check.BATCHES, ROWS + 7)
"""The last one is cut in two."""
_EPSILONS = (0.0, 0.01, 0.1)
_CROWN_EPSILON, _CROWN_IMAGES = 0.001, 2
"""Little, as linear bounds take their time where many neurons are open."""


def check(engine: Engine, seed: int = 0) -> None:
    """Raises EngineError unless, on random images,

    the logits of ONNX Runtime differ from those of the bound engine by no more than the derived rounding
    bound; every certificate is in order; no random point of a ball leaves its bounds; and, where the engine
    promises it, a row has the same bits in every batch.
    """
    images = _images(engine, max(BATCHES) if engine.device == "cpu" else CHUNK, seed)  # a GPU runs so many at once
    logits = engine.logits(images)
    for epsilon in _EPSILONS:
        certificates = engine.certify(images, epsilon)
        _require(bool(certificates.in_order().all()), "lower bound, confidence and upper bound are out of order")
        _check_agreement(engine, images, logits, epsilon, certificates, seed)
        if engine.bit_identical and epsilon == _EPSILONS[-1]:  # runtimes choose kernels by shapes, not by values
            _check_batches(engine, images, epsilon, certificates)
    _check_predictions(engine, images, logits)
    if "crown" in engine.methods:
        few = images[:_CROWN_IMAGES]
        certificates = engine.certify(few, _CROWN_EPSILON, "crown")
        _require(bool(certificates.in_order().all()), "crown: the bounds and the confidence are out of order")
        _check_agreement(engine, few, logits[:_CROWN_IMAGES], _CROWN_EPSILON, certificates, seed)


def _images(engine: Engine, count: int, seed: int) -> NDArray[np.float32]:
    """Noise, flat and nearly binary images: the places where networks behave differently."""
    random = np.random.default_rng(seed)
    images = random.random((count, *engine.input_shape), dtype=np.float32)
    images[1::3] = images[1::3, :, :1, :1]
    images[2::3] = np.round(images[2::3])
    return images


def _check_agreement(
    engine: Engine,
    images: NDArray[np.float32],
    logits: NDArray[np.float32],
    epsilon: float,
    certificates: Certificates,
    seed: int,
) -> None:
    """logits: of the images."""
    ball = around(images, epsilon)
    share = np.random.default_rng(seed).random(images.shape, dtype=np.float32)
    points = np.clip(ball.lower + share * (ball.upper - ball.lower), ball.lower, ball.upper)
    others = (ball.lower, ball.upper, points) if epsilon else ()
    for given in (logits, *(engine.logits(x) for x in others)):
        values = given.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity - infinity; such a model has infinite margins
            within = values[:, :, None] - values[:, None, :] <= certificates.margins
        _require(
            bool((within | np.isposinf(certificates.margins)).all()),
            f"ONNX Runtime and the bound engine disagree at epsilon {epsilon} by more than rounding explains",
        )


def _check_batches(engine: Engine, images: NDArray[np.float32], epsilon: float, expected: Certificates) -> None:
    for size in BATCHES:
        start = len(images) - size
        alone = engine.certify(images[start:], epsilon)
        same = all(
            np.array_equal(getattr(alone, name), getattr(expected, name)[start:])
            for name in ("confidence", "confidence_upper_bound", "confidence_lower_bound", "margins")
        )
        _require(same, f"an image in a batch of {size} gets other bits than in a batch of {len(images)}")


def _check_predictions(engine: Engine, images: NDArray[np.float32], together: NDArray[np.float32]) -> None:
    """Wherever bounds are computed, predictions are made on the CPU, where rows keep their bits."""
    for size in BATCHES:
        alone = engine.logits(images[-size:])
        _require(
            np.array_equal(alone, together[-size:], equal_nan=True),
            f"the prediction of an image depends on the others in a batch of {size}",
        )


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise EngineError(f"self-check: {otherwise}; this build of the runtimes cannot certify")
