"""CCU's own guarantee: by hand, read back from model files, attacked, and in the table."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from goodcert import artifact, engine
from goodcert.bounds.reader import read_graph
from goodcert.bounds.writer import write_graph
from goodcert.evaluation import l2
from goodcert.evaluation.evaluate import load, measure
from goodcert.evaluation.measures import auc
from goodcert.evaluation.report import report
from goodcert.evaluation.results import ResultRow, markdown, read, row, write
from goodcert.nets.joint import Joint
from goodcert.nets.mixture import LogOdds, Mixture
from goodcert.training.graphs import deployed
from goodcert.training.methods import METHODS
from goodcert.training.recipes import Recipe
from graphs import classifier
from miniature import metadata
from tiny import tiny_recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return replace(tiny_recipe(), method="CCU", components=3)


@pytest.fixture(scope="module")
def net(recipe: Recipe) -> Joint:
    """CCU as it is before training."""
    torch.manual_seed(0)
    made = METHODS["CCU"].network(recipe).eval()
    assert isinstance(made, Joint)
    return made


@pytest.fixture(scope="module")
def model(net: Joint, recipe: Recipe) -> onnx.ModelProto:
    return write_graph(deployed(net, recipe))


def single(centre: float) -> Mixture:
    """One Gaussian of variance 1 over one pixel."""
    return Mixture(torch.tensor([[centre]]), torch.zeros(1), torch.zeros(1)).double()


def test_the_bound_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # in at 0, out at 3; around 1 within 1/2 the log-odds are at most -(1/2)^2/2 + (5/2)^2/2 = 3
    monkeypatch.setattr(l2, "RADII", (0.5,))
    white = np.full((1, 1, 1, 1), 255, np.uint8)
    inside = 1 / (1 + math.exp(-3))
    assert l2.bounds(LogOdds(single(0.0), single(3.0)), white, classes=10).tolist() == [
        [pytest.approx(inside + (1 - inside) / 10)]
    ]


def test_mixtures_are_read_from_the_model_file(net: Joint, model: onnx.ModelProto) -> None:
    found = l2.mixtures(read_graph(model))
    assert found is not None
    assert isinstance(net.discriminator, LogOdds)
    images = torch.from_numpy(IMAGES / 255)
    for radius in (0.0, 1.0):
        expected = net.discriminator.double().upper_in_ball(images, radius)
        torch.testing.assert_close(found.upper_in_ball(images, radius), expected, rtol=1e-4, atol=1e-4)
    net.float()


def test_a_model_without_mixtures_has_no_such_guarantee() -> None:
    assert l2.mixtures(read_graph(classifier())) is None


def test_nothing_within_the_radius_is_served_with_more_confidence(model: onnx.ModelProto) -> None:
    odds = l2.mixtures(read_graph(model))
    assert odds is not None
    compiled, random = engine.compile(model, threads=1), np.random.default_rng(1)
    for radius, bounds in zip(l2.RADII, l2.bounds(odds, IMAGES, classes=3), strict=True):
        for _ in range(20):
            step = random.standard_normal(IMAGES.shape)
            step *= radius / np.sqrt(np.square(step).sum(axis=(1, 2, 3), keepdims=True))
            points = np.clip(IMAGES / 255 + step, 0, 1).astype(np.float32)
            assert (compiled.certify(points, 0.0).confidence <= bounds + 1e-6).all()


def test_the_table_has_it_for_such_models_alone(
    model: onnx.ModelProto, artifacts: list[artifact.Artifact], folder: Path, tmp_path: Path
) -> None:
    artifact.write(model, metadata("CCU"), tmp_path / "ccu/model.onnx")
    both = [artifacts[0], artifact.read(tmp_path / "ccu/model.onnx")]
    images = load(both, folder)
    measured = measure(both, images, "0.05", sweep=True)
    other, own = rows = [row(one, name, "a command") for one, name in zip(measured, ("one", "ccu"), strict=True)]
    assert other.l2 == ()
    assert [one.radius for one in own.l2] == list(l2.RADII)
    bound = measured[1].l2["Fashion-MNIST"][1]
    assert own.l2[1].mean_bound["Fashion-MNIST"] == pytest.approx(bound.mean(), abs=1e-4)
    assert own.l2[1].gauc["Fashion-MNIST"] == pytest.approx(auc(measured[1].inside.confidence, bound), abs=1e-4)
    line = f"| CCU, S (ccu) | 1 | {bound.mean():.4f} / "
    assert line not in markdown("Results", [], [other])
    assert line in markdown("Results", [], rows)
    assert "own guarantee, in l2" in report("Results", [], rows, list(zip(rows, measured, strict=True)), images)
    assert "own guarantee, in l2" not in report("Results", [], [other], [(other, measured[0])], images)
    write(rows, tmp_path / "rows.json")
    assert read(tmp_path / "rows.json") == rows


def test_rows_from_before_it_was_measured_can_be_read(tmp_path: Path) -> None:
    write([ResultRow("CCU", "ccu")], tmp_path / "rows.json")
    text = (tmp_path / "rows.json").read_text()
    (tmp_path / "rows.json").write_text(text.replace(',\n  "l2": []', ""))
    assert "l2" not in (tmp_path / "rows.json").read_text()
    assert read(tmp_path / "rows.json") == [ResultRow("CCU", "ccu")]
