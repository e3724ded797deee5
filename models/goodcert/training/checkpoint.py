"""Checkpoints: one file that holds all that the next step depends on. Tensors and JSON, nothing that executes."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

NAME = "checkpoint.safetensors"


@dataclass
class TrainingRun:
    """A training run between two steps.

    epoch: how many are finished. log: a row for each of these. left: int64 (N,), of the images of the epoch that
    has begun those that are still to come, in order; none between two epochs. sums: of its losses, over the steps
    that were taken.
    """

    net: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    epoch: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    left: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    sums: dict[str, float] = field(default_factory=dict)


def save(run: TrainingRun, recipe: Mapping[str, Any], folder: Path) -> None:
    """Write `folder`/checkpoint.safetensors; whatever happens, the file there is a whole one."""
    tensors = {f"net.{name}": value for name, value in run.net.state_dict().items()}
    for index, state in run.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    tensors |= {"generator": run.generator.get_state(), "left": run.left}
    facts = {"recipe": recipe, "epoch": run.epoch, "log": run.log, "sums": run.sums}
    new = folder / f"{NAME}.new"
    save_file({name: value.contiguous() for name, value in tensors.items()}, new, {"run": json.dumps(facts)})
    _to_disk(new)
    os.replace(new, folder / NAME)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def resume(run: TrainingRun, folder: Path) -> None:
    """Bring `run` to where the checkpoint in `folder` was written; its recipe must be the same."""
    facts, tensors = read(folder)
    run.net.load_state_dict(_part(tensors, "net."))
    run.optimizer.load_state_dict(
        {"state": _states(run, tensors), "param_groups": run.optimizer.state_dict()["param_groups"]}
    )
    run.generator.set_state(tensors["generator"])
    run.epoch, run.log = facts["epoch"], facts["log"]
    # Older checkpoints have neither of these: they were written between epochs alone.
    run.left, run.sums = tensors.get("left", run.left), facts.get("sums", {})


def recipe(folder: Path) -> dict[str, Any]:
    """The recipe that the checkpoint in `folder` is of, as JSON has it."""
    with safe_open(folder / NAME, framework="pt") as file:
        return dict(json.loads(file.metadata()["run"])["recipe"])


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(recipe, epoch, log and sums; all tensors by name) of the checkpoint in `folder`."""
    with safe_open(folder / NAME, framework="pt") as file:
        facts = json.loads(file.metadata()["run"])
        return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping


def finished(folder: Path) -> dict[str, Tensor]:
    """The weights of a finished run, as `load_state_dict` takes them; raises FileNotFoundError for any other."""
    if (folder / NAME).exists():
        facts, tensors = read(folder)
        if facts["epoch"] == facts["recipe"]["epochs"]:
            return _part(tensors, "net.")
    raise FileNotFoundError(f"no finished run in {folder}; train {folder.parent.name}/{folder.name} first")


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _states(run: TrainingRun, tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """What the optimiser knows of each parameter, in the parameter's own memory layout, which it relies on."""
    states = {}
    for index, parameter in enumerate(run.net.parameters()):
        state = _part(tensors, f"optimizer.{index}.")
        states[index] = {
            name: torch.empty_like(parameter).copy_(value).detach() if value.shape == parameter.shape else value
            for name, value in state.items()
        }
    return states
