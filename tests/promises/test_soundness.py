"""No attack finds a point of the ball whose served confidence is above the guaranteed bound."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from goodcert import engine, zoo
from goodcert.artifact import Artifact, read
from goodcert.bounds.ball import SLACK, round_down, round_up
from goodcert.bounds.interpreter import Program, prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT
from goodcert.engine import Engine
from goodcert.engine.prediction import confidence

EPSILONS = (0.0, 0.01, 0.1, 0.3)
STEPS = 10
SHARES = [8, pytest.param(1, marks=pytest.mark.sweep)]
"""One image in so many; no multiple of five, as five kinds of noise take turns."""


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """The smallest model, for thousands of attacks."""
    return read(zoo.folder() / "mnist-good100" / "1" / "model.onnx")


@pytest.fixture(scope="module")
def certifier(artifact: Artifact) -> Engine:
    return engine.compile(artifact.model, threads=1)


@pytest.fixture(scope="module")
def program(artifact: Artifact) -> Program:
    return prepare(read_graph(artifact.model), EXACT)


def inner_box(images: NDArray[np.uint8], epsilon: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The float32 points that certainly lie in the real ball: its ends rounded inward."""
    real = images / 255
    lower = round_up(np.clip(real - epsilon + SLACK, 0, 1))
    upper = round_down(np.clip(real + epsilon - SLACK, 0, 1))
    middle = real.astype(np.float32)
    return torch.from_numpy(np.minimum(lower, middle)), torch.from_numpy(np.maximum(upper, middle))


def attack(program: Program, images: NDArray[np.uint8], epsilon: float) -> NDArray[np.float32]:
    """Projected gradient ascent on the confidence, by signs (Madry et al., 2018), with a step that halves
    where it led down. It starts from the image itself: most random starts lie where the network is constant
    and has no gradient."""
    lower, upper = inner_box(images, epsilon)
    best = torch.from_numpy((images / 255).astype(np.float32))
    best_score, uphill = score_and_direction(program, best)
    step = torch.full_like(best[:, :1, :1, :1], epsilon)
    for _ in range(STEPS):
        x = (best + step * uphill).clamp(lower, upper)
        score, direction = score_and_direction(program, x)
        better = (score > best_score)[:, None, None, None]
        best, uphill = torch.where(better, x, best), torch.where(better, direction, uphill)
        best_score, step = torch.maximum(score, best_score), torch.where(better, step, step / 2)
    return best.numpy()


def score_and_direction(program: Program, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    x = x.detach().clone().requires_grad_()
    (box,) = program(Interval(x, x))
    score = box.lower.log_softmax(dim=1).amax(dim=1)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    return score.detach(), gradient.sign()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_no_confidence_in_the_ball_exceeds_the_bound(
    certifier: Engine, program: Program, outliers: NDArray[np.uint8], epsilon: float, share: int
) -> None:
    _require_sound(certifier, program, outliers[::share], epsilon)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", ["mnist-good100/2", "mnist-prood/1"])
def test_nor_does_it_in_a_deeper_network_or_with_a_discriminator(
    name: str, outliers: NDArray[np.uint8], share: int
) -> None:
    model = read(zoo.folder() / name / "model.onnx").model
    program = prepare(read_graph(model), EXACT)
    _require_sound(engine.compile(model, threads=1), program, outliers[::41][::share], 0.3)


def _require_sound(certifier: Engine, program: Program, outliers: NDArray[np.uint8], epsilon: float) -> None:
    certificates = certifier.certify(outliers, epsilon)
    bound = certificates.confidence_upper_bound
    lower, upper = (x.numpy() for x in inner_box(outliers, epsilon))
    attacked = attack(program, outliers, epsilon)
    for points in (attacked, lower, upper, (outliers / 255).astype(np.float32)):
        reached = confidence(certifier.logits(points))
        assert not (reached > bound).any()
        assert not (reached < certificates.confidence_lower_bound).any()


def test_the_attack_raises_confidences_where_it_has_a_gradient(
    certifier: Engine, program: Program, scribbles: NDArray[np.uint8]
) -> None:
    """So the test above could fail: the attack gets somewhere on images that are not certified."""
    before = certifier.certify(scribbles, 0.3).confidence
    unsure = (before > 0.11) & (before < 0.9)
    reached = confidence(certifier.logits(attack(program, scribbles[unsure], 0.3)))
    assert unsure.sum() > 20
    assert np.mean(reached > before[unsure] + 0.05) > 0.5


def test_every_certificate_is_in_order(certifier: Engine, outliers: NDArray[np.uint8]) -> None:
    for epsilon in EPSILONS:
        assert certifier.certify(outliers, epsilon).sound().all()


def test_without_the_rounding_margin_the_bound_would_lie_below_the_confidence(
    certifier: Engine, program: Program, scribbles: NDArray[np.uint8]
) -> None:
    """Plain float32 interval propagation, at epsilon 0."""
    lower, upper = (torch.from_numpy(x) for x in _point_box(scribbles))
    with torch.no_grad():
        (box,) = program(Interval(lower, upper))
    naive = 1 / np.exp(-(box.upper.double()[:, :, None] - box.lower.double()[:, None, :]).numpy()).sum(axis=2)
    served = confidence(certifier.logits(lower.numpy()))
    assert (naive.max(axis=1) < served).any()
    assert (certifier.certify(scribbles, 0.0).confidence_upper_bound >= served).all()


def _point_box(images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    point = (images / 255).astype(np.float32)
    return point, point
