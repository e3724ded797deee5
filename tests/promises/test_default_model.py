"""The default model keeps what its card says and what was promised for it."""

from pathlib import Path

import pytest

from goodcert import zoo
from goodcert.artifact import Artifact, read
from goodcert.evaluation import card, results
from goodcert.evaluation.evaluate import evaluate
from goodcert.evaluation.measures import Results
from goodcert.training.recipes import RECIPES

ROOT = Path(__file__).parent.parent.parent
FLOORS = {"uniform noise": 100.0, "grey CIFAR-10": 98.8, "notMNIST": 83.0, "Fashion-MNIST": 55.0}


def recorded(artifact: Artifact) -> Results:
    return Results.from_json(artifact.metadata.results)


def test_the_recorded_results_reach_the_promised_figures(artifact: Artifact) -> None:
    results = recorded(artifact)
    assert results.accuracy >= 98.0
    reached = {name: results.outside[name].guaranteed_auc for name in FLOORS}
    assert {name: value for name, value in reached.items() if round(value, 2) < FLOORS[name]} == {}


def test_the_card_is_the_one_that_the_recorded_results_make(artifact: Artifact) -> None:
    path = zoo.folder() / "mnist-good100" / "1" / "card.md"
    command = "goodcert evaluate mnist-good100/1/model.onnx --write"
    text = card.card("mnist-good100", "1", artifact, recorded(artifact), command)
    assert path.read_text(encoding="utf-8") == text


def test_evaluating_again_gives_the_recorded_results(artifact: Artifact, data: Path) -> None:
    again = evaluate(artifact, data)
    assert again.accuracy == pytest.approx(recorded(artifact).accuracy, abs=0.02)
    for name, result in recorded(artifact).outside.items():
        assert again.outside[name].guaranteed_auc == pytest.approx(result.guaranteed_auc, abs=0.05)


def test_the_table_of_results_has_the_shipped_file_with_the_figures_of_its_card(artifact: Artifact) -> None:
    (row,) = [r for r in results.read(ROOT / "docs/results/mnist.json") if r.model_sha256 == artifact.sha256]
    expected = recorded(artifact)
    assert row.accuracy == pytest.approx(expected.accuracy, abs=0.02)
    for name, result in expected.outside.items():
        shown = row.out[name]
        assert (shown.auc, shown.gauc) == pytest.approx((result.auc, result.guaranteed_auc), abs=0.05)


def test_the_file_says_how_it_was_trained(artifact: Artifact) -> None:
    recipe = dict(artifact.metadata.recipe)
    assert recipe.pop("torch")
    assert recipe.pop("goodcert")
    assert RECIPES["mnist-good100"].recorded_as(recipe)


def test_the_shipped_file_is_small() -> None:
    path = zoo.folder() / "mnist-good100" / "1" / "model.onnx"
    assert path.stat().st_size < 2.5e6
    assert read(path).metadata.input_shape == (1, 28, 28)
