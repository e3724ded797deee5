"""Training goes on where it was interrupted, to the bit, and trains on the bounds that are certified."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from goodcert.bounds.ball import around
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.sequential import graph_of
from goodcert.training import checkpoint
from goodcert.training.datasets import Datasets, split
from goodcert.training.loop import train
from goodcert.training.methods import METHODS, Batch, Terms, ball_margins
from goodcert.training.recipes import Recipe

CPU = torch.device("cpu")
HARD: dict[str, Any] = {"out_crop_padding": 2, "out_contrast": 3.0, "out_cut": 0.5, "near": 0.5, "turned": ("b",)}


class PowerCutError(Exception):
    pass


class PowerCut:
    """The data, until a field has been asked for so many times."""

    def __init__(self, data: Datasets, field: str, times: int) -> None:
        self._data, self._field, self._left = data, field, times

    def __getattr__(self, name: str) -> Any:
        if name == self._field:
            self._left -= 1
            if self._left < 0:
                raise PowerCutError
        return getattr(self._data, name)


def weights(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach() for p in net.parameters()]


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize(
    ("field", "times"),
    [("labels", 1), ("labels", 3), ("labels", 5), ("validation", 0), ("outside_validation", 0), ("validation", 1)],
)
@pytest.mark.parametrize("seconds", [0, 3600])
def test_a_run_that_was_interrupted_ends_in_the_same_network_to_the_bit(
    recipe: Recipe, data: Datasets, tmp_path: Path, field: str, times: int, seconds: float
) -> None:
    assert_same_after_a_power_cut(recipe, data, tmp_path, field, times, seconds)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["Plain", "CEDA", "OE", "ACET", "CCU", "GOOD_0", "GOOD_100", "ProoD"])
def test_so_does_every_method(recipe: Recipe, data: Datasets, tmp_path: Path, method: str, precision: Any) -> None:
    quantile = {"GOOD_0": 0.0, "GOOD_100": 1.0}.get(method, 0.8)
    small = replace(recipe, method=method, quantile=quantile, precision=precision, components=2, attack_steps=2)
    assert_same_after_a_power_cut(small, data, tmp_path, "labels", 5)


@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd", "weight_decay": 0.1}, {"flips": True}, {"seed": 7}, HARD]
)
def test_so_does_every_way_to_train(
    recipe: Recipe, data: Datasets, tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert_same_after_a_power_cut(replace(recipe, **changes), data, tmp_path, "labels", 4)


def colourful(recipe: Recipe) -> tuple[Recipe, Datasets]:
    """With AutoAugment. All outliers are white."""
    recipe = replace(recipe, color="rgb", auto_augment=True, augment_policy="svhn")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (22, 8, 8, 3), dtype=np.uint8)
    return recipe, split(recipe, images, random.integers(0, 3, 22), np.full_like(images, 255))


def test_so_does_autoaugment(recipe: Recipe, tmp_path: Path) -> None:
    assert_same_after_a_power_cut(*colourful(recipe), tmp_path, "labels", 5)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Batch, Terms]]:
    """What the steps of GOOD_80 are given, and what they make of it, as they come."""
    method, seen = METHODS["GOOD_80"], list[tuple[Batch, Terms]]()

    def terms(net: nn.Module, batch: Batch, epsilon: float, recipe: Recipe) -> Terms:
        made = method.terms(net, batch, epsilon, recipe)
        if torch.is_grad_enabled():  # which it is not in validation
            seen.append((batch, made))
        return made

    monkeypatch.setitem(METHODS, "GOOD_80", replace(method, terms=terms))  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize("auto_augment", [True, False])
def test_autoaugment_is_for_outliers_too(
    recipe: Recipe, steps: list[tuple[Batch, Terms]], tmp_path: Path, auto_augment: bool
) -> None:
    recipe, data = colourful(recipe)
    train(replace(recipe, auto_augment=auto_augment), data, tmp_path, CPU)
    white = torch.cat([(batch.outside == 1).all(dim=(1, 2, 3)) for batch, _ in steps])
    assert bool(white.all()) is not auto_augment


@pytest.mark.parametrize("method", ["ACET", "CCU", "GOOD_80", "ProoD"])
def test_every_device_trains_and_goes_on(
    recipe: Recipe, data: Datasets, tmp_path: Path, method: str, device: str
) -> None:
    small, target = replace(recipe, method=method, components=2, attack_steps=2), torch.device(device)
    expected = train(small, data, tmp_path / "whole", target)
    with pytest.raises(PowerCutError):
        train(small, PowerCut(data, "labels", 5), tmp_path / "cut", target)  # type: ignore[arg-type]
    resumed = train(small, data, tmp_path / "cut", target)
    for a, b in zip(weights(expected), weights(resumed), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def assert_same_after_a_power_cut(
    recipe: Recipe, data: Datasets, folder: Path, field: str, times: int, seconds: float = 0
) -> None:
    """With a checkpoint after every step, unless they are to be `seconds` apart."""
    expected, cut = train(recipe, data, folder / "whole", CPU), PowerCut(data, field, times)
    with pytest.raises(PowerCutError):
        train(recipe, cut, folder / "cut", CPU, seconds=seconds)  # type: ignore[arg-type]
    assert same(train(recipe, data, folder / "cut", CPU), expected)
    assert (folder / "cut" / "log.csv").read_bytes() == (folder / "whole" / "log.csv").read_bytes()


@pytest.mark.parametrize(("seconds", "again"), [(0, 0), (3600, 1)])
def test_it_goes_on_at_the_step_after_its_last_checkpoint(
    recipe: Recipe, data: Datasets, tmp_path: Path, seconds: float, again: int
) -> None:
    with pytest.raises(PowerCutError):  # in its fifth step of six, the second one of an epoch
        train(recipe, PowerCut(data, "labels", 4), tmp_path, CPU, seconds=seconds)  # type: ignore[arg-type]
    with pytest.raises(PowerCutError):
        train(recipe, PowerCut(data, "labels", 1 + again), tmp_path, CPU, seconds=3600)  # type: ignore[arg-type]
    train(recipe, PowerCut(data, "labels", 2 + again), tmp_path, CPU)  # type: ignore[arg-type]


def test_the_seed_decides_the_run_and_nothing_outside_it(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    first = train(recipe, data, tmp_path / "1", CPU)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert same(train(recipe, data, tmp_path / "2", CPU), first)
    assert not same(train(replace(recipe, seed=1), data, tmp_path / "3", CPU), first)


def test_a_finished_run_is_not_trained_again(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    first = train(recipe, data, tmp_path, CPU)
    log = (tmp_path / "log.csv").read_bytes()
    assert same(train(recipe, data, tmp_path, CPU), first)
    assert (tmp_path / "log.csv").read_bytes() == log


def test_the_log_has_a_line_for_every_epoch_and_the_schedules_reach_their_ends(
    recipe: Recipe, data: Datasets, tmp_path: Path
) -> None:
    train(replace(recipe, kappa_ramp=(0.0, 0.5), epsilon_ramp=(0.0, 0.5)), data, tmp_path, CPU)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    # the last step of the first epoch is at a third of the run, that of the second at five sixths
    assert float(rows[0]["kappa"]) == pytest.approx(0.3 * 2 / 3)
    assert float(rows[0]["epsilon"]) == pytest.approx(0.1 * 2 / 3)
    assert [float(rows[1][name]) for name in ("kappa", "epsilon")] == [0.3, 0.1]
    assert float(rows[0]["learning_rate"]) == recipe.learning_rate
    assert float(rows[1]["learning_rate"]) == pytest.approx(recipe.learning_rate * 0.2)


def test_the_log_has_the_means_of_the_losses_over_the_epoch(
    recipe: Recipe, data: Datasets, steps: list[tuple[Batch, Terms]], tmp_path: Path
) -> None:
    train(recipe, data, tmp_path, CPU)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("inside", "outside"):
        losses = torch.stack([getattr(terms, name).detach().mean() for _, terms in steps]).reshape(2, 3)
        logged = [float(row[name.removesuffix("side") + "_loss"]) for row in rows]
        assert logged == pytest.approx(losses.mean(dim=1).tolist())


def test_sgd_has_nesterov_momentum(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    # The momentum of the first step is its gradient, of which Nesterov's goes 1 + 0.9 times as far.
    one = replace(recipe, optimizer="sgd", weight_decay=0.1, epochs=1, batch=17, decay_at=())
    still = train(replace(one, learning_rate=0.0), data, tmp_path / "still", CPU)
    moved = train(replace(one, learning_rate=0.5), data, tmp_path / "moved", CPU)
    _, tensors = checkpoint.read(tmp_path / "moved")
    for index, (before, after) in enumerate(zip(weights(still), weights(moved), strict=True)):
        gradient = tensors[f"optimizer.{index}.momentum_buffer"]
        torch.testing.assert_close(before - after, 0.5 * 1.9 * gradient, rtol=1e-3, atol=1e-6)


def test_the_bar_shows_losses_schedules_and_the_last_validation(
    recipe: Recipe, data: Datasets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(recipe, data, tmp_path, CPU)
    shown = capsys.readouterr().err
    assert "tiny: epoch 2/2" in shown
    for name in ("in_loss", "out_loss", "learning_rate", "kappa", "epsilon", "validation_accuracy"):
        assert f"{name}=" in shown


def test_a_checkpoint_of_another_recipe_is_refused(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    train(recipe, data, tmp_path, CPU)
    with pytest.raises(ValueError, match="another recipe"):
        train(replace(recipe, kappa=0.5), data, tmp_path, CPU)


def test_fewer_images_than_a_batch_are_refused(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch"):
        train(replace(recipe, batch=64), data, tmp_path, CPU)


def test_training_lowers_the_bound_on_outliers(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    longer = replace(recipe, epochs=12, kappa=10.0, quantile=1.0, learning_rate=5e-3, decay_at=())
    train(longer, data, tmp_path, CPU)
    with (tmp_path / "log.csv").open() as file:
        out_losses = [float(row["validation_out_loss"]) for row in csv.DictReader(file)]
    assert out_losses[-1] < out_losses[0] / 2


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.3])
def test_trained_bounds_are_the_certified_ones_without_the_rounding_margin(
    recipe: Recipe, data: Datasets, tmp_path: Path, epsilon: float
) -> None:
    net = train(recipe, data, tmp_path, CPU)
    images = np.random.default_rng(1).integers(77, 179, (3, 1, 8, 8), dtype=np.uint8)  # balls inside [0, 1]
    ball = around(images, epsilon)
    module = MarginModule(graph_of(net, (1, 8, 8)))
    with torch.no_grad():
        certified = module(torch.from_numpy(ball.lower), torch.from_numpy(ball.upper))
        trained = ball_margins(net, torch.from_numpy((images / 255).astype(np.float32)), epsilon).double()
    torch.testing.assert_close(trained, certified, rtol=1e-3, atol=1e-3)
    off_diagonal = ~torch.eye(3, dtype=torch.bool)
    assert (certified >= trained)[:, off_diagonal].all()
