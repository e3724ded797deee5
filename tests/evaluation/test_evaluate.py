"""Whole evaluations on the miniature benchmark: order, transfer, and engines that lie."""

from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert import artifact, engine
from goodcert.bounds.ball import Ball
from goodcert.engine import Certificates, Engine, Method
from goodcert.evaluation import attack as attack_module
from goodcert.evaluation import evaluate as evaluate_module
from goodcert.evaluation.attack import Budget, Logits, Points, sample
from goodcert.evaluation.benchmarks import Images
from goodcert.evaluation.evaluate import SWEEP, UnsoundError, evaluate, load, measure, require_order
from graphs import classifier
from miniature import metadata

BUDGET = Budget(points=5, steps=6, restarts=1)

Change = Callable[[Certificates], NDArray[np.float64]]


class Liar(Engine):
    """Says another upper bound than an honest engine."""

    def __init__(self, true: Engine, change: Change) -> None:
        super().__init__(true.logits, true.evaluate, true.classes, true.input_shape, true.device)
        self._change = change

    def certify_balls(self, ball: Ball, method: Method = "ibp", threshold: float | None = None) -> Certificates:
        certificates = super().certify_balls(ball, method, threshold)
        return replace(certificates, confidence_upper_bound=self._change(certificates))


def sabotaged(change: Change) -> Callable[..., Engine]:
    """Compiles engines whose upper bound is changed."""
    honest = engine.compile
    return lambda model, device="cpu": Liar(honest(model, device), change)


@pytest.fixture
def lying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    return lambda change: monkeypatch.setattr(engine, "compile", sabotaged(change))


def test_every_model_keeps_the_order_and_the_attack_changes_nothing_else(
    artifacts: list[artifact.Artifact], folder: Path
) -> None:
    images = load(artifacts, folder)
    plain, attacked = (measure(artifacts, images, "0.05", budget=budget) for budget in (None, BUDGET))
    for before, after in zip(plain, attacked, strict=True):
        for name, result in after.results().outside.items():
            at = sample(images.outside[name], BUDGET.points)
            certificates = after.outside[name]
            assert (certificates.confidence[at] <= after.attacked[name]).all()
            assert (after.attacked[name] <= certificates.confidence_upper_bound[at]).all()
            assert result.attacked == len(at)
            assert (
                replace(result, attacked=0, adversarial_auc=None, adversarial_fpr95=None)
                == (before.results().outside[name])
            )


def test_accuracy_and_mean_confidence_are_those_of_the_engine(folder: Path, files: list[Path]) -> None:
    model = artifact.read(files[0])
    images = load([model], folder)
    certificates = engine.compile(model.model).certify(images.inside, 0.0)
    results = evaluate(model, folder)
    assert results.accuracy == pytest.approx(100 * np.mean(certificates.index == images.labels))
    assert results.mean_confidence == pytest.approx(certificates.confidence.mean())
    assert results.epsilon == "0.05"


def test_points_found_on_the_other_model_count(
    artifacts: list[artifact.Artifact], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two equal models, the first is hardly attacked; what is found on the second counts for it."""
    images, strengths = load(artifacts, folder), cycle([Budget(5, 0, 1), BUDGET])

    def attack(logits: Logits, chosen: Images, epsilon: float, budget: Budget, *where: Any) -> Points:
        return attack_module.attack(logits, chosen, epsilon, next(strengths), *where)

    monkeypatch.setattr(evaluate_module, "attack", attack)
    spared, attacked = measure([artifacts[0]] * 2, images, "0.05", budget=BUDGET)
    monkeypatch.undo()
    (alone,) = measure(artifacts[:1], images, "0.05", budget=Budget(5, 0, 1))
    for name, found in spared.attacked.items():
        np.testing.assert_array_equal(found, attacked.attacked[name])
        assert found.mean() > alone.attacked[name].mean()


def test_bounds_that_lie_below_the_confidence_end_the_evaluation(
    artifacts: list[artifact.Artifact], folder: Path, lying: Callable[..., None]
) -> None:
    lying(lambda certificates: certificates.confidence_upper_bound * 0.9)
    with pytest.raises(UnsoundError, match="first number 0, break clean <= adversarial <= guaranteed"):
        measure(artifacts, load(artifacts, folder), "0.05")


def test_bounds_that_only_an_attack_unmasks_end_the_evaluation_too(
    artifacts: list[artifact.Artifact], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The liar's bound is the clean confidence: in order until someone looks around."""
    monkeypatch.setattr(engine, "compile", sabotaged(lambda certificates: certificates.confidence))
    images = load(artifacts, folder)
    measure(artifacts, images, "0.05")
    with pytest.raises(UnsoundError, match="adversarial"):
        measure(artifacts, images, "0.05", budget=BUDGET)


def test_an_attack_that_reports_less_than_the_image_itself_is_an_error(
    artifacts: list[artifact.Artifact], folder: Path
) -> None:
    (measured,) = measure(artifacts[:1], load(artifacts, folder), "0.05", budget=BUDGET)
    weakened = {name: scores * 0.5 for name, scores in measured.attacked.items()}
    with pytest.raises(UnsoundError):
        require_order(replace(measured, attacked=weakened))


def test_the_curve_of_bounds_grows_with_the_radius(artifacts: list[artifact.Artifact], folder: Path) -> None:
    (measured,) = measure(artifacts[:1], load(artifacts, folder), "0.05", sweep=True)
    for name, bounds in measured.sweep.items():
        assert bounds.shape == (len(SWEEP), len(measured.outside[name].confidence))
        assert (np.diff(bounds, axis=0) >= -1e-6).all()
        np.testing.assert_allclose(bounds[6], measured.outside[name].confidence_upper_bound, rtol=1e-5)


def test_models_of_different_kinds_are_not_compared(artifacts: list[artifact.Artifact], folder: Path) -> None:
    other = replace(artifacts[0], metadata=metadata(in_pack="cifar10_train"))
    with pytest.raises(ValueError, match="one kind at a time"):
        load([artifacts[0], other], folder)


def test_a_model_that_ends_in_a_softmax_is_attacked_before_it(folder: Path, tmp_path: Path) -> None:
    import onnx

    model = classifier(classes=3)
    model.graph.node.append(onnx.helper.make_node("Softmax", ["y"], ["p"], name="softmax", axis=1))
    model.graph.output[0].name = "p"
    artifact.write(model, metadata(), tmp_path / "soft/model.onnx")
    soft = [artifact.read(tmp_path / "soft/model.onnx")]
    (measured,) = measure(soft, load(soft, folder), "0.05", budget=BUDGET)
    assert any((found > measured.outside[n].confidence[:1].min()).any() for n, found in measured.attacked.items())
