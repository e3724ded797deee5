"""The training loop, the only one: ask the schedules, ask the loss, step, remember."""

import csv
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from goodcert.bounds.classifier import split, training_margins
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT
from goodcert.bounds.sequential import graph_of
from goodcert.data.images import random_contrast, random_crop
from goodcert.nets import build
from goodcert.training import losses
from goodcert.training.datasets import Datasets
from goodcert.training.recipes import Recipe
from goodcert.training.schedules import decay, ramp


@dataclass
class Run:
    """What a checkpoint holds: all that the next step depends on."""

    net: nn.Sequential
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    epoch: int = 0


def train(recipe: Recipe, data: Datasets, folder: Path, device: torch.device) -> nn.Sequential:
    """Train a network by `recipe`, going on from the last checkpoint in `folder` if there is one.

    Writes `checkpoint.pt` after every epoch and one line an epoch to `log.csv`. The same seed, device and
    number of threads give the same network, interrupted or not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _start(recipe, device)
    _resume(run, recipe, folder)
    for epoch in range(run.epoch, recipe.epochs):
        measured = _epoch(run, recipe, data, epoch, device)
        run.epoch = epoch + 1
        _save(run, recipe, folder)
        _log(folder, {"epoch": epoch + 1, **measured, **_validate(run.net, recipe, data, device)})
    return run.net


def _start(recipe: Recipe, device: torch.device) -> Run:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        channels = 1 if recipe.color == "grey" else 3
        net = build(recipe.net, (channels, recipe.size, recipe.size), len(recipe.labels)).to(device)
    if recipe.precision == "bfloat16":
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the layout of fast convolutions
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.learning_rate, fused=True)
    return Run(net, optimizer, torch.Generator().manual_seed(recipe.seed))


def _epoch(run: Run, recipe: Recipe, data: Datasets, epoch: int, device: torch.device) -> dict[str, float]:
    steps = len(data.inside) // recipe.batch
    if steps < 1:
        raise ValueError(f"got {len(data.inside)} images to train on, expected at least a batch of {recipe.batch}")
    order = torch.randperm(len(data.inside), generator=run.generator)[: steps * recipe.batch]
    measured: dict[str, float] = {}
    with tqdm(torch.split(order, recipe.batch), desc=f"epoch {epoch + 1}/{recipe.epochs}", leave=False) as batches:
        for step, chosen in enumerate(batches):
            progress = (epoch + step / steps) / recipe.epochs
            measured = _step(run, recipe, data, chosen, progress, device)
            if step % 20 == 0:
                batches.set_postfix({name: f"{value:.3g}" for name, value in measured.items()})
    return measured


def _step(
    run: Run, recipe: Recipe, data: Datasets, chosen: Tensor, progress: float, device: torch.device
) -> dict[str, float]:
    kappa = recipe.kappa * ramp(progress, *recipe.kappa_ramp)
    epsilon = float(recipe.epsilon) * ramp(progress, *recipe.epsilon_ramp)
    rate = recipe.learning_rate * decay(progress, recipe.decay_at, recipe.decay_factor)
    for group in run.optimizer.param_groups:
        group["lr"] = rate

    inside = _pixels(random_crop(data.inside[chosen], recipe.size, recipe.crop_padding, run.generator), device)
    picked = torch.randint(len(data.outside), (recipe.batch,), generator=run.generator)
    outliers = random_crop(data.outside[picked], recipe.size, 0, run.generator)
    outside = _pixels(random_contrast(outliers, recipe.out_contrast, run.generator), device)

    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        entropy = F.cross_entropy(run.net(inside).float(), data.labels[chosen].to(device))
        out_losses = _out_losses(run.net, outside, epsilon, recipe)
    loss = losses.objective(entropy, out_losses, kappa)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    return {
        "cross_entropy": entropy.item(), "out_loss": out_losses.mean().item(), "learning_rate": rate,
        "kappa": kappa, "epsilon": epsilon,
    }  # fmt: skip


def _out_losses(net: nn.Sequential, images: Tensor, epsilon: float, recipe: Recipe) -> Tensor:
    margins = ball_margins(net, images, epsilon)
    if recipe.quantile == 1:
        return losses.good(margins)
    return losses.good_quantile(margins, net(images).float(), recipe.quantile)


def ball_margins(net: nn.Sequential, images: Tensor, epsilon: float) -> Tensor:
    """(N, K, K) bounds on all logit differences over the balls around `images` (N, C, H, W), clipped to
    [0, 1] as the certified ones are; differentiable, without rounding margins."""
    _, channels, height, width = images.shape
    body, weight, bias = split(graph_of(net, (channels, height, width)))
    box = Interval((images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1))
    return training_margins(prepare(body, EXACT), weight, bias, box, EXACT)


@torch.no_grad()
def _validate(net: nn.Sequential, recipe: Recipe, data: Datasets, device: torch.device) -> dict[str, float]:
    """On held-out images of both training distributions: nothing that an evaluation uses."""
    logits = net(_pixels(data.validation, device))
    accuracy = (logits.argmax(dim=1) == data.validation_labels.to(device)).double().mean()
    margins = ball_margins(net, _pixels(data.outside_validation, device), float(recipe.epsilon))
    return {"validation_accuracy": accuracy.item(), "validation_out_loss": losses.good(margins).mean().item()}


def _pixels(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 255


def _save(run: Run, recipe: Recipe, folder: Path) -> None:
    state = {
        "recipe": asdict(recipe), "epoch": run.epoch, "net": run.net.state_dict(),
        "optimizer": run.optimizer.state_dict(), "generator": run.generator.get_state(),
    }  # fmt: skip
    torch.save(state, folder / "checkpoint.new")
    os.replace(folder / "checkpoint.new", folder / "checkpoint.pt")  # never half a checkpoint


def _resume(run: Run, recipe: Recipe, folder: Path) -> None:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return
    state = torch.load(path, weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise ValueError(f"{path} is of another recipe; give --runs another folder or remove it")
    run.net.load_state_dict(state["net"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.generator.set_state(state["generator"])
    run.epoch = state["epoch"]


def _log(folder: Path, row: dict[str, float]) -> None:
    path = folder / "log.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        if new:
            writer.writeheader()
        writer.writerow(row)
