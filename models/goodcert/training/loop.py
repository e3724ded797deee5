"""The training loop, the only one: ask the schedules, ask the method, step, remember."""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor, nn
from tqdm import tqdm

from goodcert.data.images import auto_augment, random_contrast, random_crop, random_flip
from goodcert.data.outliers import cut_out, near
from goodcert.training import checkpoint, losses
from goodcert.training.checkpoint import TrainingRun
from goodcert.training.datasets import Datasets
from goodcert.training.methods import METHODS, Batch, Terms
from goodcert.training.recipes import Recipe
from goodcert.training.schedules import decay, ramp


def train(
    recipe: Recipe,
    data: Datasets,
    folder: Path,
    device: torch.device,
    base: Path | None = None,
    seconds: float = 60,
) -> nn.Module:
    """Train a network by `recipe`, going on from the last checkpoint in `folder` if there is one.

    Writes `checkpoint.safetensors` after every epoch, and within one after the first step that ends `seconds` or
    more after the last time; and `log.csv` with one line an epoch: losses are means over it, the rest is of its
    last step. On a CPU the same seed and number of threads give the same network to the bit, interrupted or not;
    on another device nearly the same, where some sums have no fixed order. base: the folder of the run whose
    network this one starts from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _start(recipe, device)
    if (folder / checkpoint.NAME).exists():
        _resume(run, recipe, folder)
    else:
        _fit(run.net, recipe, data, base)
    with _the_same_kernels():
        while run.epoch < recipe.epochs:
            measured = _epoch(run, recipe, data, device, folder, seconds)
            run.epoch, run.sums = run.epoch + 1, {}
            run.log.append({"epoch": run.epoch, **measured, **_validate(run.net, recipe, data, device)})
            checkpoint.save(run, asdict(recipe), folder)
            _write_log(folder, run.log)
    return run.net


@contextmanager
def _the_same_kernels() -> Iterator[None]:
    """cuDNN with kernels that sum in a fixed order, the same ones every time. (PyTorch's own context manager
    refuses once an engine was compiled, which keeps TF32 from convolutions alone.)"""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _start(recipe: Recipe, device: torch.device) -> TrainingRun:
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        net = METHODS[recipe.method].network(recipe).to(device)
    if recipe.precision == "bfloat16":
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the layout of fast convolutions
    return TrainingRun(net, _optimizer(net, recipe), torch.Generator().manual_seed(recipe.seed))


def _fit(net: nn.Module, recipe: Recipe, data: Datasets, base: Path | None) -> None:
    fit = METHODS[recipe.method].fit
    if fit is not None:
        fit(net, recipe, data)
    if base is not None:
        net.load_state_dict(checkpoint.finished(base))


def _optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    rate, weight_decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "adam":
        return torch.optim.Adam(net.parameters(), rate, weight_decay=weight_decay, fused=True)
    return torch.optim.SGD(
        net.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=weight_decay, fused=True
    )


def _resume(run: TrainingRun, recipe: Recipe, folder: Path) -> None:
    if not recipe.recorded_as(checkpoint.recipe(folder)):
        raise ValueError(
            f"{folder / checkpoint.NAME} is of another recipe; give --runs another folder or remove it"
        )
    checkpoint.resume(run, folder)
    if run.log:
        _write_log(folder, run.log)  # the power may have gone between checkpoint and log


def _epoch(
    run: TrainingRun, recipe: Recipe, data: Datasets, device: torch.device, folder: Path, seconds: float
) -> dict[str, float]:
    """Take all steps of an epoch, or those that are left of it."""
    steps, saved = len(data.inside) // recipe.batch, monotonic()
    if steps < 1:
        raise ValueError(f"got {len(data.inside)} images to train on, expected at least a batch of {recipe.batch}")
    if not len(run.left):
        run.left = torch.randperm(len(data.inside), generator=run.generator)[: steps * recipe.batch]
    title, done = f"{recipe.name}: epoch {run.epoch + 1}/{recipe.epochs}", steps - len(run.left) // recipe.batch
    measured: dict[str, float] = {}
    with tqdm(range(done, steps), title, steps, initial=done, leave=False) as bar:
        for step in bar:
            chosen, run.left = run.left[: recipe.batch], run.left[recipe.batch :]
            progress = (run.epoch + step / steps) / recipe.epochs
            measured = _step(run, recipe, _batch(run, recipe, data, chosen, device), progress)
            measured |= _means(run, measured, step + 1)
            if step % 20 == 0:
                shown = {name: f"{value:.3g}" for name, value in {**_last(run), **measured}.items()}
                bar.set_postfix(shown)
            if len(run.left) and monotonic() - saved >= seconds:
                checkpoint.save(run, asdict(recipe), folder)
                saved = monotonic()
    return measured


def _means(run: TrainingRun, measured: dict[str, float], steps: int) -> dict[str, float]:
    """The losses over the `steps` steps of this epoch, of which `measured` is the last."""
    run.sums = {name: run.sums.get(name, 0.0) + measured[name] for name in ("in_loss", "out_loss")}
    return {name: total / steps for name, total in run.sums.items()}


def _last(run: TrainingRun) -> dict[str, float]:
    """What the validation of the epoch before found."""
    last = run.log[-1] if run.log else {}
    return {name: value for name, value in last.items() if name.startswith("validation")}


def _batch(run: TrainingRun, recipe: Recipe, data: Datasets, chosen: Tensor, device: torch.device) -> Batch:
    inside = random_crop(data.inside[chosen], recipe.size, recipe.crop_padding, run.generator)
    if recipe.flips:  # of these alone: a mirrored photograph is as natural as its original
        inside = random_flip(inside, run.generator)
    picked = torch.randint(len(data.outside), (recipe.batch,), generator=run.generator)
    outliers = random_crop(data.outside[picked], recipe.size, recipe.out_crop_padding, run.generator)
    outside = random_contrast(outliers, recipe.out_contrast, run.generator)
    outside = cut_out(outside, recipe.out_cut, run.generator)
    labels = data.labels[chosen]
    hard = _near(inside, labels, recipe, run.generator)
    inside, outside, hard = (_shown(x, recipe, device, run.generator) for x in (inside, outside, hard))
    return Batch(inside, labels.to(device), outside, hard)


def _shown(images: Tensor, recipe: Recipe, device: torch.device, generator: torch.Generator) -> Tensor:
    """What the network sees. AutoAugment is for both distributions, as in the published code: the black edges that
    it leaves would else tell them apart."""
    pixels = _pixels(images, device)
    return auto_augment(pixels, recipe.augment_policy, generator) if recipe.auto_augment else pixels


def _near(inside: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    count = round(recipe.near * recipe.batch)
    if not count:
        return inside[:0]
    turned = torch.tensor([label in recipe.turned for label in recipe.labels])
    return near(inside[:count], labels[:count], turned, generator)


def _step(run: TrainingRun, recipe: Recipe, batch: Batch, progress: float) -> dict[str, float]:
    kappa = recipe.kappa * ramp(progress, *recipe.kappa_ramp)
    epsilon = float(recipe.epsilon) * ramp(progress, *recipe.epsilon_ramp)
    rate = recipe.learning_rate * decay(progress, recipe.decay_at, recipe.decay_factor)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    terms = _terms(run.net, recipe, batch, epsilon)
    run.optimizer.zero_grad(set_to_none=True)
    losses.objective(terms.inside, terms.outside, kappa).backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    return {
        "in_loss": terms.inside.mean().item(), "out_loss": terms.outside.mean().item(), "learning_rate": rate,
        "kappa": kappa, "epsilon": epsilon,
    }  # fmt: skip


def _terms(net: nn.Module, recipe: Recipe, batch: Batch, epsilon: float) -> Terms:
    with torch.autocast(batch.inside.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        return METHODS[recipe.method].terms(net, batch, epsilon, recipe)


@torch.no_grad()
def _validate(net: nn.Module, recipe: Recipe, data: Datasets, device: torch.device) -> dict[str, float]:
    """On held-out images of both training distributions: nothing that an evaluation uses. At the final radius;
    the accuracy of a discriminator is its share of the in-distribution that it takes for it."""
    hits, out_losses = [], []
    for at in _slices(max(len(data.validation), len(data.outside_validation)), 4 * recipe.batch):
        inside, outside = (_pixels(images[at], device) for images in (data.validation, data.outside_validation))
        batch = Batch(inside, data.validation_labels[at].to(device), outside, inside[:0])
        terms = _terms(net, recipe, batch, float(recipe.epsilon))
        hits.append(_hits(terms.outputs, batch.labels))
        out_losses.append(terms.outside)
    return {
        "validation_accuracy": torch.cat(hits).double().mean().item(),
        "validation_out_loss": torch.cat(out_losses).double().mean().item(),
    }


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _hits(outputs: Tensor, labels: Tensor) -> Tensor:
    """(N,) whether the class of the largest logit is right, or whether the only number is positive."""
    return outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(dim=1) == labels


def _pixels(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).float() / 255


def _write_log(folder: Path, rows: list[dict[str, float]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    (folder / "log.new").write_text(text.getvalue(), newline="")
    os.replace(folder / "log.new", folder / "log.csv")
