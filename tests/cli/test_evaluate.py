"""`goodcert evaluate` on the miniature benchmark."""

import json
from pathlib import Path

import numpy as np
import pytest

from goodcert import artifact
from goodcert.cli import main as cli
from goodcert.evaluation import attack, benchmarks
from goodcert.evaluation.attack import Budget
from graphs import classifier
from miniature import PACKS, metadata


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(benchmarks, "NOISE_IMAGES", 6)
    monkeypatch.setitem(attack.BUDGETS, "short", Budget(3, 2, 1))
    random = np.random.default_rng(0)
    for name, shape in PACKS.items():
        images = random.integers(0, 256, shape, dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=random.integers(0, 3, shape[0]))
    return tmp_path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny/1/model.onnx"
    artifact.write(classifier(classes=3), metadata(), path)
    return path


def evaluate(*arguments: object) -> int:
    return cli.main(["evaluate", *map(str, arguments)])


def test_one_model_is_measured_and_printed_and_nothing_is_written(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    assert evaluate(model, "--data", folder) == 0
    shown = capsys.readouterr().out
    assert "accuracy" in shown
    assert "| letters | 12 |" in shown
    assert model.read_bytes() == before
    assert [path.name for path in model.parent.iterdir()] == ["model.onnx"]


def test_sets_that_are_not_there_are_left_out_with_a_notice(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "letters_a.npz").unlink()
    assert evaluate(model, "--data", folder) == 0
    shown = capsys.readouterr()
    assert "| notMNIST |" in shown.out
    assert "letters" not in shown.out
    assert f"left out, as not in {folder}: letters, " in shown.err


def test_write_puts_the_results_into_the_file_and_its_card(folder: Path, model: Path) -> None:
    assert evaluate(model, "--data", folder, "--write") == 0
    assert set(artifact.read(model).metadata.results["outside"]) >= {"letters", "uniform noise"}
    assert "goodcert evaluate tiny/1/model.onnx --write" in model.with_name("card.md").read_text()


def test_out_writes_data_page_and_report_that_agree(folder: Path, model: Path) -> None:
    out = folder / "results"
    assert evaluate(model, "--data", folder, "--adversarial", "short", "--out", out, "--write") == 0
    mine, published, *_ = json.loads((out / "mnist.json").read_text())
    written = artifact.read(model)
    assert mine["model_sha256"] == written.sha256
    assert mine["out"]["letters"]["gauc"] == round(
        written.metadata.results["outside"]["letters"]["guaranteed_auc"], 4
    )
    assert mine["out"]["letters"]["attacked"] == 3
    assert published["source"]
    assert f"{mine['accuracy']:.2f}" in (out / "mnist.md").read_text()
    assert f"{mine['accuracy']:.2f}" in (out / "mnist.html").read_text()
    assert str(folder) not in "".join(path.read_text() for path in out.iterdir())


def test_what_to_know_about_the_images_stands_on_the_page(folder: Path) -> None:
    colour = folder / "colour/model.onnx"
    artifact.write(classifier(classes=3, channels=3), metadata(in_pack="cifar10_train"), colour)
    assert evaluate(colour, "--data", folder, "--out", folder / "results") == 0
    for page in ("cifar10.md", "cifar10.html"):
        text = (folder / "results" / page).read_text()
        assert "Results on CIFAR-10" in text
        assert "JPEG copies" in text
        assert "two thirds" in text


def test_versions_of_one_model_are_told_apart(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = folder / "tiny/2/model.onnx"
    artifact.write(classifier(1, classes=3), metadata(), second)
    assert evaluate(model, second, "--data", folder) == 0
    shown = capsys.readouterr().out
    assert "tiny/1 (" in shown
    assert "tiny/2 (" in shown


def test_rows_of_earlier_runs_stay(folder: Path, model: Path) -> None:
    other = folder / "other/model.onnx"
    artifact.write(classifier(1, classes=3), metadata("OE"), other)
    for path in (model, other):
        assert evaluate(path, "--data", folder, "--out", folder / "results") == 0
    rows = json.loads((folder / "results/mnist.json").read_text())
    assert [row["name"] for row in rows[:2]] == ["tiny", "other"]
    assert all(row["name"].startswith("paper/") for row in rows[2:])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{model}", "--write", "--epsilon", "0.1", "--data", "{data}"], "leave --epsilon out"),
        (["{loose}", "--write", "--data", "{data}"], "takes a file at <name>/<version>/model.onnx"),
        (["{model}", "{model}", "--data", "{data}"], "expected names that differ"),
        (["{model}", "{far}", "--data", "{data}"], "choose one with --epsilon"),
        (["{model}", "--epsilon", "1.5", "--data", "{data}"], "expected at most 1"),
        (["{model}"], "name the folder of the image packs"),
        (["{data}/nothing.onnx", "--data", "{data}"], "No such file"),
        (["{model}", "--data", "{data}/nowhere"], "no image pack"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    arguments: list[str], reason: str, folder: Path, model: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("GOODCERT_DATA", raising=False)
    loose, far = folder / "loose/model.onnx", folder / "far/model.onnx"
    artifact.write(classifier(classes=3), metadata(), loose)
    from dataclasses import replace

    artifact.write(classifier(classes=3), replace(metadata(), epsilon="0.2"), far)
    names = {"model": model, "loose": loose, "far": far, "data": folder}
    assert evaluate(*(a.format(**names) for a in arguments)) == 2
    assert reason in capsys.readouterr().out
