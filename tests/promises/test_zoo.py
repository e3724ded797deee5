"""The models that ship keep what their cards say and what was promised for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from goodcert import zoo
from goodcert.artifact import Artifact, read
from goodcert.evaluation import benchmarks, card, results
from goodcert.evaluation.evaluate import evaluate
from goodcert.evaluation.measures import Results
from goodcert.training.recipes import RECIPES

ROOT = Path(__file__).parent.parent.parent


class Promise(NamedTuple):
    """accuracy, guaranteed: at least, in percent; guaranteed AUC by out-distribution. megabytes: of the file."""

    accuracy: float
    guaranteed: Mapping[str, float]
    megabytes: float


PROMISES = {
    ("mnist-good100", "1"): Promise(
        98.0, {"uniform noise": 100.0, "grey CIFAR-10": 98.8, "notMNIST": 83.0, "Fashion-MNIST": 55.0}, 2.5
    ),
    ("mnist-good100", "2"): Promise(
        98.8, {"uniform noise": 99.95, "grey CIFAR-10": 99.9, "notMNIST": 98.0, "Fashion-MNIST": 88.5}, 15.0
    ),
    ("mnist-prood", "1"): Promise(
        99.5, {"uniform noise": 100.0, "grey CIFAR-10": 99.9, "notMNIST": 97.5, "Fashion-MNIST": 90.0}, 15.0
    ),
    ("cifar10-prood", "1"): Promise(
        71.0, {"uniform noise": 6.0, "traffic signs": 14.0, "Tiny ImageNet": 10.0}, 15.0
    ),
}


class Shipped(NamedTuple):
    """A model in the zoo."""

    name: str
    version: str
    file: Path
    artifact: Artifact
    recorded: Results


@pytest.fixture(scope="module", params=PROMISES, ids="-".join)
def shipped(request: pytest.FixtureRequest) -> Shipped:
    name, version = request.param
    file = zoo.folder() / name / version / "model.onnx"
    artifact = read(file)
    return Shipped(name, version, file, artifact, Results.from_json(artifact.metadata.results))


def test_every_model_of_the_zoo_has_its_promise() -> None:
    assert {file.parts[-3:-1] for file in zoo.folder().glob("*/*/model.onnx")} == set(PROMISES)


def test_the_recorded_results_reach_the_promised_figures(shipped: Shipped) -> None:
    promise = PROMISES[shipped.name, shipped.version]
    assert shipped.recorded.accuracy >= promise.accuracy
    reached = {name: shipped.recorded.outside[name].guaranteed_auc for name in promise.guaranteed}
    assert {name: auc for name, auc in reached.items() if round(auc, 2) < promise.guaranteed[name]} == {}
    assert shipped.file.stat().st_size < promise.megabytes * 1e6


def test_the_card_is_the_one_that_the_recorded_results_make(shipped: Shipped) -> None:
    command = f"goodcert evaluate {shipped.name}/{shipped.version}/model.onnx --write"
    text = card.card(shipped.name, shipped.version, shipped.artifact, shipped.recorded, command)
    assert (shipped.file.parent / "card.md").read_text(encoding="utf-8") == text


DIGITS = [key for key in PROMISES if "mnist" in key[0]]
FEW = 200


@pytest.fixture
def few(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packs, with FEW images from all over each."""
    for name in ("mnist_test", "fashion_sample_a", "letters_a", "notmnist_a", "cifar10_test"):
        with np.load(data / f"{name}.npz") as pack:
            np.savez(tmp_path / name, **{key: array[:: max(1, len(array) // FEW)] for key, array in pack.items()})
    monkeypatch.setattr(benchmarks, "NOISE_IMAGES", FEW)
    return tmp_path


@pytest.mark.parametrize("shipped", DIGITS, ids="-".join, indirect=True)
def test_evaluating_on_few_images_comes_close_to_the_recorded_results(shipped: Shipped, few: Path) -> None:
    """As close as so few can come."""
    again = evaluate(shipped.artifact, few)
    assert again.accuracy == pytest.approx(shipped.recorded.accuracy, abs=1)
    reached = {name: result.guaranteed_auc for name, result in again.outside.items()}
    recorded = {name: result.guaranteed_auc for name, result in shipped.recorded.outside.items()}
    assert reached == pytest.approx(recorded, abs=5)


@pytest.mark.parametrize(
    "shipped",
    [
        pytest.param(key, id="-".join(key), marks=pytest.mark.sweep if key in DIGITS else pytest.mark.slow)
        for key in PROMISES
    ],
    indirect=True,
)
def test_evaluating_again_gives_the_recorded_results(shipped: Shipped, data: Path) -> None:
    again = evaluate(shipped.artifact, data)
    assert again.accuracy == pytest.approx(shipped.recorded.accuracy, abs=0.02)
    for name, result in shipped.recorded.outside.items():
        assert again.outside[name].guaranteed_auc == pytest.approx(result.guaranteed_auc, abs=0.05)


def test_the_table_of_results_has_the_shipped_file_with_the_figures_of_its_card(shipped: Shipped) -> None:
    rows = [row for path in (ROOT / "docs/results").glob("*.json") for row in results.read(path)]
    (row,) = [row for row in rows if row.model_sha256 == shipped.artifact.sha256]
    assert row.accuracy == pytest.approx(shipped.recorded.accuracy, abs=0.02)
    for name, result in shipped.recorded.outside.items():
        shown = row.out[name]
        assert (shown.auc, shown.gauc) == pytest.approx((result.auc, result.guaranteed_auc), abs=0.05)


def test_the_file_says_how_it_was_trained(shipped: Shipped) -> None:
    recipe = dict(shipped.artifact.metadata.recipe)
    assert recipe.pop("torch")
    assert recipe.pop("goodcert")
    made_by = RECIPES[recipe["name"]]
    assert made_by.recorded_as(recipe)
    assert shipped.artifact.metadata.input_shape == made_by.input_shape
