"""`goodcert train`: one recipe, a whole family, the paper's length; and `goodcert fetch`."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from goodcert import artifact
from goodcert.cli import main as cli
from goodcert.cli import train
from goodcert.training.recipes import FAMILIES, RECIPES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny packs, and a tiny family `mnist` of two rows that build on each other, in two lengths."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (80, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "mnist_train.npz", images=images, labels=random.integers(0, 10, 80))
    np.savez(tmp_path / "natural_patches_32.npz", images=random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8))
    families = {
        name: tuple(
            replace(recipe, held_out=40, out_held_out=10, batch=16, epochs=epochs, net="S")
            for recipe in FAMILIES[name]
            if recipe.method in ("Plain", "ProoD")
        )
        for name, epochs in (("mnist", 1), ("full/mnist", 2))
    }
    recipes = {recipe.name: recipe for rows in families.values() for recipe in rows}
    monkeypatch.setattr(train, "FAMILIES", families)
    monkeypatch.setattr(train, "RECIPES", {**recipes, "mnist-good100": RECIPES["mnist-good100"]})
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return cli.main(["train", *words, "--data", str(folder), "--runs", str(folder / "runs")])


def test_a_family_trains_all_of_its_rows_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "mnist") == 0
    shown = capsys.readouterr().out
    assert shown.index("mnist/plain/model.onnx") < shown.index("mnist/prood/model.onnx")
    plain, prood = (artifact.read(folder / f"runs/mnist/{row}/model.onnx").metadata for row in ("plain", "prood"))
    assert (plain.method, plain.head) == ("Plain", "")
    assert (prood.method, prood.head) == ("ProoD", "log_odds")


def test_what_is_finished_is_only_exported_again(folder: Path) -> None:
    assert run(folder, "mnist/plain") == 0
    checkpoint = folder / "runs/mnist/plain/checkpoint.safetensors"
    before = checkpoint.stat().st_mtime_ns
    (folder / "runs/mnist/plain/model.onnx").unlink()
    assert run(folder, "mnist/plain") == 0
    assert (folder / "runs/mnist/plain/model.onnx").exists()
    assert checkpoint.stat().st_mtime_ns == before


def test_full_is_another_run_of_another_length(folder: Path) -> None:
    assert run(folder, "mnist/plain", "--full") == 0
    metadata = artifact.read(folder / "runs/full/mnist/plain/model.onnx").metadata
    assert (metadata.recipe["epochs"], metadata.recipe["optimizer"]) == (2, "sgd")


def test_a_recipe_of_one_length_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "mnist-good100", "--full") == 2
    assert "leave out --full" in capsys.readouterr().out


def test_a_row_whose_base_is_not_trained_says_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "mnist/prood") == 1
    assert "train mnist/plain first" in capsys.readouterr().out


def test_a_missing_pack_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mnist_train.npz").unlink()
    assert run(folder, "mnist/plain") == 1
    assert "mnist_train.npz" in capsys.readouterr().out


def test_a_method_without_outliers_trains_without_their_pack_the_same_network(folder: Path) -> None:
    made = folder / "runs/mnist/plain/model.onnx"
    assert run(folder, "mnist/plain") == 0
    with_pack = made.read_bytes()
    shutil.rmtree(folder / "runs")
    (folder / "natural_patches_32.npz").unlink()
    assert run(folder, "mnist/plain") == 0
    assert made.read_bytes() == with_pack


def test_a_method_with_outliers_says_what_pack_to_provide(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "natural_patches_32.npz").unlink()
    assert run(folder, "mnist") == 1
    shown = capsys.readouterr().out
    assert "wrote" in shown
    assert "ProoD trains with outliers: give it `images`, uint8 (N, 32, 32, 3), more than 10 natural" in shown


@pytest.mark.parametrize("verb", ["train", "fetch"])
def test_without_a_folder_of_data_both_verbs_ask_for_it(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GOODCERT_DATA", raising=False)
    assert cli.main([verb, {"train": "mnist", "fetch": "mnist_train"}[verb]]) == 2
    assert "--data" in capsys.readouterr().out
