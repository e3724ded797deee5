"""`crown` and `auto` as a user of the engine has them."""

import threading
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from goodcert import engine
from goodcert.bounds.ball import Ball, around
from goodcert.engine import Certificates, Engine, EngineError
from graphs import Operation, classifier, onnx_model

RANDOM = np.random.default_rng(8)
POOLED: list[Operation] = [
    ("MaxPool", ["x"], "p", {"kernel_shape": [2, 2]}), ("Flatten", ["p"], "f", {}), ("Gemm", ["f", "w"], "y", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def certifiers() -> dict[str, Engine]:
    return {}


@pytest.fixture
def certifier(certifiers: dict[str, Engine], device: str) -> Engine:
    if device not in certifiers:
        certifiers[device] = engine.compile(classifier(seed=6), device=device, threads=1)
    return certifiers[device]


def pixels(count: int) -> np.ndarray:
    return RANDOM.random((count, 1, 8, 8), dtype=np.float32)


def pooled() -> Engine:
    weights = RANDOM.standard_normal((49, 3)).astype(np.float32)
    return engine.compile(onnx_model(POOLED, {"w": weights}, ["N", 1, 8, 8]), threads=1)


def test_on_the_cpu_images_are_bounded_side_by_side() -> None:
    certifier = engine.compile(classifier(seed=6), threads=2)
    both = threading.Barrier(2, timeout=30)
    tighten: Any = certifier._tighten
    crown = tighten._crown
    tighten._crown = lambda lower, upper: (both.wait(), crown(lower, upper))[1]  # breaks where one waits alone
    images = pixels(2)
    found = certifier.certify(images, 0.03, "crown")
    tighten._crown = crown
    assert np.array_equal(found.margins[1:], certifier.certify(images[1:], 0.03, "crown").margins)


@pytest.mark.parametrize("epsilon", [0.0, 0.005, 0.03, 0.3, 1.0])
def test_crown_is_nowhere_looser_than_ibp_and_in_order(certifier: Engine, epsilon: float) -> None:
    images = pixels(8)
    ibp, crown = (certifier.certify(images, epsilon, method) for method in ("ibp", "crown"))
    assert crown.sound().all()
    assert (crown.margins <= ibp.margins).all()
    assert (crown.confidence_upper_bound <= ibp.confidence_upper_bound).all()
    assert (crown.confidence_lower_bound >= ibp.confidence_lower_bound).all()
    assert np.array_equal(crown.confidence, ibp.confidence)
    assert ibp.method.tolist() == ["ibp"] * 8
    assert crown.method.tolist() == ["crown"] * 8


def test_crown_is_much_tighter_on_a_net_that_was_not_trained_with_intervals(certifier: Engine) -> None:
    images = pixels(8)
    ibp, crown = (certifier.certify(images, 0.03, method).confidence_upper_bound for method in ("ibp", "crown"))
    assert (ibp - crown).mean() > 0.1


def test_margins_contain_the_logits_of_points_of_the_ball(certifier: Engine) -> None:
    images = pixels(4)
    ball = around(images, 0.05)
    margins = certifier.certify(images, 0.05, "crown").margins
    for _ in range(50):
        share = RANDOM.random(images.shape, dtype=np.float32).round()
        points = np.clip(ball.lower + share * (ball.upper - ball.lower), ball.lower, ball.upper)
        logits = certifier.logits(points).astype(float)
        assert (logits[:, :, None] - logits[:, None, :] <= margins).all()


def test_an_image_gets_the_same_answer_alone_in_any_batch_and_beside_any_neighbour(certifier: Engine) -> None:
    images = pixels(7)
    whole = certifier.certify(images, 0.05, "crown")
    for size in (1, 2, 3, 7):
        part = certifier.certify(images[-size:], 0.05, "crown")
        for i in range(size):
            same(part, i, whole, 7 - size + i, certifier.bit_identical)
    shuffled = RANDOM.permutation(7)
    mixed = certifier.certify(images[shuffled], 0.05, "crown")
    for i in range(7):
        same(mixed, i, whole, int(shuffled[i]), certifier.bit_identical)


def same(got: Certificates, i: int, expected: Certificates, j: int, bits: bool) -> None:
    for name in ("confidence", "confidence_lower_bound", "confidence_upper_bound", "margins"):
        a, b = getattr(got, name)[i], getattr(expected, name)[j]
        assert np.array_equal(a, b) if bits else np.allclose(a, b, rtol=1e-4, atol=1e-4), name


def test_a_larger_ball_never_has_a_lower_bound_but_for_the_choice_of_slopes(certifier: Engine) -> None:
    images = pixels(6)
    bounds = [certifier.certify(images, e, "crown").confidence_upper_bound for e in (0, 0.01, 0.1, 0.5, 1)]
    for smaller, larger in pairwise(bounds):
        assert (larger >= smaller - 1e-3).all()


def test_auto_asks_crown_only_where_ibp_leaves_a_rejected_image_uncertified(certifier: Engine) -> None:
    images = np.concatenate([pixels(20), np.zeros((1, 1, 8, 8), np.float32)])
    epsilons = np.linspace(0, 0.03, 21)
    ibp, crown = (certifier.certify(images, epsilons, method) for method in ("ibp", "crown"))
    threshold = float(np.median(ibp.confidence_upper_bound))
    auto = certifier.certify(images, epsilons, "auto", threshold)
    undecided = (ibp.confidence <= threshold) & (ibp.confidence_upper_bound > threshold)
    assert 0 < undecided.sum() < 21
    assert np.array_equal(auto.method == "crown", undecided)
    for i, hard in enumerate(undecided):
        same(auto, i, crown if hard else ibp, i, certifier.bit_identical)
    certified = auto.confidence_upper_bound <= threshold
    assert certified.sum() > (ibp.confidence_upper_bound <= threshold).sum()


def test_auto_at_a_threshold_that_decides_everything_is_ibp(certifier: Engine) -> None:
    images = pixels(3)
    ibp, auto = certifier.certify(images, 0.1), certifier.certify(images, 0.1, "auto", 1.0)
    for field in fields(ibp):
        assert np.array_equal(getattr(ibp, field.name), getattr(auto, field.name))


@pytest.mark.parametrize(("method", "threshold"), [("auto", None), ("CROWN", 0.5), ("", None)])
def test_methods_that_cannot_be_are_refused(certifier: Engine, method: Any, threshold: float | None) -> None:
    with pytest.raises(ValueError, match=r"method: got"):
        certifier.certify(pixels(1), 0.1, method, threshold)


def test_a_graph_without_linear_bounds_refuses_crown_by_node_and_operator_and_auto_falls_back() -> None:
    certifier = pooled()
    assert certifier.methods == ("ibp",)
    assert "MaxPool" in (certifier.without_crown or "")
    with pytest.raises(EngineError, match=r"crown: node 'node0' \(MaxPool\)"):
        certifier.certify(pixels(2), 0.1, "crown")
    assert certifier.certify(pixels(2), 0.1, "auto", 0.4).method.tolist() == ["ibp"] * 2


def test_a_model_that_could_overflow_has_no_linear_bounds() -> None:
    weights = RANDOM.standard_normal((64, 3)).astype(np.float32) * np.float32(2.0**100)
    model = onnx_model(
        [("Flatten", ["x"], "f", {}), ("Gemm", ["f", "w"], "y", {})], {"w": weights}, ["N", 1, 8, 8]
    )
    with pytest.raises(EngineError, match="overflow float32"):
        engine.compile(model, threads=1).certify(pixels(1), 0.1, "crown")


def test_a_model_too_large_for_linear_bounds_is_served_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodcert.engine.crown_engine.MAX_COST", 10)
    certifier = engine.compile(classifier(), threads=1)
    with pytest.raises(EngineError, match="an image could take"):
        certifier.certify(pixels(1), 0.1, "crown")


def test_balls_of_any_layout_in_memory_are_taken(certifier: Engine) -> None:
    ball = around(pixels(3), 0.1)
    turned = Ball(*(np.asfortranarray(part) for part in ball))
    same(certifier.certify_balls(turned, "crown"), 2, certifier.certify_balls(ball, "crown"), 2, True)
