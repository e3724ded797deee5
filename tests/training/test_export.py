"""What is exported is what was trained, with a head where the bound comes from a discriminator."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from goodcert import artifact, engine
from goodcert.bounds.joint import LOG_ODDS
from goodcert.nets.joint import log_posterior
from goodcert.training import export
from goodcert.training.datasets import Datasets, split
from goodcert.training.graphs import deployed
from goodcert.training.loop import train
from goodcert.training.recipes import FAMILIES, RECIPES, Recipe

CPU = torch.device("cpu")


@pytest.fixture
def images() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(5).integers(0, 256, (30, 1, 8, 8), dtype=np.uint8))


def pixels(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 255


def served(path: Path, images: torch.Tensor) -> np.ndarray:
    return engine.compile(path, threads=1).logits(pixels(images).numpy())


def test_a_classifier_is_exported_as_it_is(
    recipe: Recipe, data: Datasets, images: torch.Tensor, tmp_path: Path
) -> None:
    net = train(recipe, data, tmp_path, CPU).eval()
    path = export.export(net, recipe, images, tmp_path / "model.onnx")
    np.testing.assert_allclose(served(path, images), net(pixels(images)).detach(), atol=1e-5)
    metadata = artifact.read(path).metadata
    assert (metadata.method, metadata.head, metadata.labels) == ("GOOD_80", "", ("a", "b", "c"))
    assert recipe.recorded_as({k: v for k, v in metadata.recipe.items() if k not in ("goodcert", "torch")})


def test_prood_joins_its_discriminator_with_a_classifier_that_keeps_its_answers(
    recipe: Recipe, data: Datasets, images: torch.Tensor, tmp_path: Path
) -> None:
    plain = replace(recipe, name="plain", method="Plain")
    train(plain, data, tmp_path / "plain", CPU)
    classifier = export.finished(plain, tmp_path / "plain")
    prood = replace(recipe, method="ProoD", base="plain")
    net = train(prood, data, tmp_path / "prood", CPU).eval()
    path = export.export(net, prood, images, tmp_path / "model.onnx", classifier)
    logits = served(path, images)
    expected = log_posterior(classifier(pixels(images)), net(pixels(images)) + prood.shift).detach()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert (logits.argmax(axis=1) == classifier(pixels(images)).argmax(dim=1).numpy()).all()
    model = artifact.read(path)
    assert model.metadata.head == LOG_ODDS
    assert LOG_ODDS in {name for node in model.model.graph.node for name in node.output}


def test_ccu_is_exported_with_its_mixtures_as_discriminator(
    recipe: Recipe, data: Datasets, images: torch.Tensor, tmp_path: Path
) -> None:
    ccu = replace(recipe, method="CCU", components=3)
    net = train(ccu, data, tmp_path, CPU).eval()
    path = export.export(net, ccu, images, tmp_path / "model.onnx")
    np.testing.assert_allclose(served(path, images), net(pixels(images)).detach(), atol=1e-3)
    assert artifact.read(path).metadata.head == LOG_ODDS
    certificates = engine.compile(path, threads=1).certify(images.numpy(), 0.1)
    assert certificates.sound().all()


def test_a_discriminator_without_a_classifier_is_refused(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    prood = replace(recipe, method="ProoD", base="plain", epochs=1)
    net = train(prood, data, tmp_path, CPU)
    with pytest.raises(ValueError, match="expected the classifier of 'plain'"):
        deployed(net, prood)


# Every method once, and the other set of classes; each method with each set in a sweep.
DIGITS, (SIGNS, *MORE_SIGNS) = FAMILIES["svhn"], FAMILIES["gtsrb"]


@pytest.mark.parametrize(
    "recipe",
    [*DIGITS, SIGNS, *(pytest.param(recipe, marks=pytest.mark.sweep) for recipe in MORE_SIGNS)],
    ids=lambda recipe: recipe.name,
)
def test_recipes_of_digits_and_signs_train_and_export_on_a_synthetic_pack(recipe: Recipe, tmp_path: Path) -> None:
    random, classes = np.random.default_rng(0), len(recipe.labels)
    small = replace(recipe, held_out=40, out_held_out=10, batch=16, epochs=1)
    inside, outside = (random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for n in (80, 30))
    data = split(small, inside, random.integers(0, classes, 80), outside)
    base = replace(RECIPES[recipe.base or recipe.name], held_out=40, out_held_out=10, batch=16, epochs=1)
    train(base, data, tmp_path / "base", CPU)
    joined = export.finished(base, tmp_path / "base") if recipe.method == "ProoD" else None
    net = train(small, data, tmp_path / "run", CPU, tmp_path / "base" if recipe.base and not joined else None)
    path = export.export(net.eval(), small, data.threshold, tmp_path / "model.onnx", joined)
    metadata = artifact.read(path).metadata
    assert (metadata.epsilon, metadata.color, len(metadata.labels)) == (recipe.epsilon, "rgb", classes)
