"""A classifier is certified, and its balls are searched for what contradicts the certificates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import onnx
from numpy.typing import NDArray

from goodcert.bounds.ball import Ball, around
from goodcert.engine.certificates import Certificates
from goodcert.engine.engine import Engine
from goodcert.engine.methods import Method
from goodcert.engine.prediction import confidence
from goodcert.evaluation.fuzzing.evaluators import SLOW, Evaluate, evaluators

Images = NDArray[np.float32]

POINTS, CENTRES, FEW, ROUNDS = 64, 3, 3, 2
EPSILONS = (0.0, 0.05, 1.0)
ROUNDED = 2.0**-16
"""How far, relatively, shares that a file's own Softmax made may stray from those of its logits."""


@dataclass(frozen=True)
class Contradiction:
    """What an evaluator computes of `point`, and what was certified, by `method`, of the ball of `epsilon` around
    `image`."""

    evaluator: str
    what: str
    image: Images
    epsilon: float
    point: Images
    got: float
    bound: float
    method: Method

    def __str__(self) -> str:
        return (
            f"{self.evaluator}: {self.what} {self.got:.9g}, certified {self.bound:.9g} "
            f"by {self.method} at epsilon {self.epsilon}"
        )


@dataclass(frozen=True)
class Searched:
    """evaluated: by evaluator, whether it knew the file. informative: whether some bound said anything. crown:
    whether there were linear bounds, too."""

    contradictions: tuple[Contradiction, ...]
    evaluated: dict[str, bool]
    informative: bool
    crown: bool


@dataclass(frozen=True)
class Balls:
    """Certificates of balls and the points of each: images (N, C, H, W), points (N, P, C, H, W)."""

    images: Images
    epsilon: float
    certificates: Certificates
    points: Images

    @property
    def method(self) -> Method:
        return "crown" if self.certificates.method[0] == "crown" else "ibp"

    def few(self) -> "Balls":
        """The first ball and the last, and the last points of each: those of the hints, if there are any."""
        ends = [0, -1]
        return Balls(self.images[ends], self.epsilon, chosen(self.certificates, ends), self.points[ends, -2:])


def chosen(certificates: Certificates, rows: Sequence[int]) -> Certificates:
    """Those of some rows."""
    return Certificates(*(getattr(certificates, field.name)[rows] for field in fields(certificates)))


def search(
    engine: Engine, model: onnx.ModelProto, random: np.random.Generator, hints: Sequence[Images] = ()
) -> Searched:
    """Every evaluator at every point of every ball; the first contradiction of each evaluator is kept."""
    shares = model.graph.node[-1].op_type == "Softmax"
    balls = list(_balls(engine, random, hints))
    found: list[Contradiction] = []
    evaluated: dict[str, bool] = {}
    for name, evaluate in evaluators(model):
        outcome = evaluate and against(name, evaluate, balls, shares=shares, few=name in SLOW)
        evaluated[name] = outcome is not None
        found += outcome or []
    told = any((b.certificates.confidence_upper_bound < 1).any() for b in balls)
    return Searched(tuple(found), evaluated, told, "crown" in engine.methods)


def _balls(engine: Engine, random: np.random.Generator, hints: Sequence[Images]) -> Iterator[Balls]:
    """A point each for itself at epsilon 0, and a few images with all points of the ball around each; of the first
    of these and a classifier with linear bounds their certificate, too."""
    shares = patterns(engine.input_shape, random, hints)
    yield Balls(shares, 0.0, engine.certify(shares, 0.0), shares[:, None])
    centres = shares[np.r_[0, len(shares) - 1, random.integers(len(shares), size=CENTRES - 2)]]
    for epsilon in EPSILONS[1:]:
        ball = around(centres, epsilon)
        points = _inside(ball, shares)
        if "crown" in engine.methods:
            yield Balls(centres[:1], epsilon, engine.certify(centres[:1], epsilon, "crown"), points[:1])
        yield Balls(centres, epsilon, engine.certify(centres, epsilon), points)


def _inside(ball: Ball, shares: Images) -> Images:
    """(N, P, C, H, W): the points of each ball at these shares of the way from its lower to its upper end, where
    those at an end are exact."""
    lower, upper = ball.lower[:, None], ball.upper[:, None]
    points = np.clip(lower + shares * (upper - lower), lower, upper)
    return np.asarray(np.where(shares == 1, upper, np.where(shares == 0, lower, points)), np.float32)


def patterns(shape: tuple[int, int, int], random: np.random.Generator, hints: Sequence[Images]) -> Images:
    """(P, C, H, W) in [0, 1]: grey first, noise, black and white in several ways, and the hints, last those."""
    flat = [np.full(shape, level, np.float32) for level in (0.5, 0, 1, np.float32(111 / 255), random.random())]
    halves = [np.broadcast_to(part, shape) for axis in range(3) for part in _halves(shape, axis)]
    noise = random.random((POINTS // 3, *shape))
    levels = np.round(random.random((POINTS // 6, *shape)) * 255) / 255
    corners = random.random((POINTS // 3, *shape)) < random.random((POINTS // 3, 1, 1, 1))
    turned = [flipped for hint in hints for flipped in (1 - hint, hint)]
    return np.stack([*flat, *halves, *noise, *levels, *corners, *turned]).astype(np.float32)


def _halves(shape: tuple[int, int, int], axis: int) -> Iterator[NDArray[np.bool_]]:
    along = np.arange(shape[axis]).reshape(-1, *[1] * (2 - axis))
    yield along < shape[axis] / 2
    yield along >= shape[axis] / 2
    yield along % 2 == 0


def against(
    name: str, evaluate: Evaluate, balls: Sequence[Balls], *, shares: bool, few: bool = False
) -> list[Contradiction] | None:
    """None for an evaluator that does not know the file after all."""
    for whole in balls:
        ball = whole.few() if few else whole
        points = ball.points
        count, each = points.shape[:2]
        try:
            given = evaluate(points.reshape(-1, *points.shape[2:]))
        except Exception:  # noqa: BLE001  evaluators fail with errors of all kinds
            return None
        if given.shape != (count * each, ball.certificates.margins.shape[1]):
            return None
        outside = _outside(given.reshape(count, each, -1), ball.certificates, shares=shares)
        if outside:
            (row, point), what, got, bound = outside
            place = (ball.images[row], ball.epsilon, points[row, point])
            return [Contradiction(name, what, *place, got, bound, ball.method)]
    return [] if few else _climbed(name, evaluate, ball, given, shares=shares)


Outside = tuple[tuple[int, int], str, float, float]
"""((ball, point), what, got, bound)."""


def _outside(given: NDArray[np.float32], certificates: Certificates, *, shares: bool) -> Outside | None:
    """The first point whose value lies outside, given (N, P, K)."""
    values = given.astype(np.float64)
    if shares:
        with np.errstate(divide="ignore", invalid="ignore"):
            top: NDArray[np.float64] = np.asarray(values.max(axis=2), np.float64)
        slack = ROUNDED
    else:
        slack = 0.0
        top = confidence(given.reshape(-1, given.shape[2])).reshape(given.shape[:2])
        with np.errstate(invalid="ignore"):
            difference = values[:, :, :, None] - values[:, :, None, :]
        margins = certificates.margins[:, None]
        # Of a logit that is -infinity, as a logarithm of a share that underflowed, the confidence alone counts.
        finite = np.asarray(np.isfinite(values).all(axis=2))[:, :, None, None]
        beyond: NDArray[np.bool_] = ~(difference <= margins) & np.isfinite(margins) & finite
        for row, point, k, other in np.argwhere(beyond):
            got, bound = difference[row, point, k, other], margins[row, 0, k, other]
            return (int(row), int(point)), f"logit {k} - logit {other}", float(got), float(bound)
    upper, lower = certificates.confidence_upper_bound[:, None], certificates.confidence_lower_bound[:, None]
    bounded = np.asarray(np.isfinite(certificates.margins).all(axis=(1, 2)))
    guaranteed = bounded[:, None] | (upper < 1)
    for bound, inside in ((upper, top <= upper + slack), (lower, top >= lower - slack)):
        outside: NDArray[np.bool_] = np.asarray(~inside & guaranteed)
        for row, point in np.argwhere(outside):
            return (int(row), int(point)), "confidence", float(top[row, point]), float(bound[row, 0])
    return None


def _climbed(
    name: str, evaluate: Evaluate, ball: Balls, given: NDArray[np.float32], *, shares: bool
) -> list[Contradiction]:
    """From the point with the largest difference of two logits, a few rounds of flips of some pixels, for the ball
    that is all images."""
    random = np.random.default_rng(len(given))
    points = ball.points.reshape(-1, *ball.points.shape[2:])
    for _ in range(ROUNDS):
        best = points[int(np.nan_to_num(given[:, 0] - given[:, -1]).argmax())]
        flips = random.random((POINTS // 2, *best.shape)) < random.random((POINTS // 2, 1, 1, 1)) * 0.5
        points = np.where(flips, 1 - best, best).astype(np.float32)
        given = evaluate(points)
        first = chosen(ball.certificates, [0])
        if outside := _outside(given[None], first, shares=shares):
            (_, point), what, got, bound = outside
            place = (ball.images[0], ball.epsilon, points[point])
            return [Contradiction(name, what, *place, got, bound, ball.method)]
    return []
