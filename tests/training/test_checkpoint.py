"""Checkpoints hold everything, execute nothing, and are whole whatever happens."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from goodcert.training import checkpoint
from goodcert.training.datasets import Datasets
from goodcert.training.loop import train
from goodcert.training.methods import METHODS
from goodcert.training.recipes import Recipe

CPU = torch.device("cpu")

# In a process of its own, which kills itself when it asks for the labels of its fifth step, the second of three in
# the second epoch.
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from goodcert.training.loop import train
from tiny import tiny_data, tiny_recipe

class Deadly:
    data, left = tiny_data(), 5
    def __getattr__(self, name):
        if name == "labels":
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return getattr(self.data, name)

torch.set_num_threads(int(sys.argv[2]))  # on which bits depend
train(tiny_recipe(), Deadly(), Path(sys.argv[1]), torch.device("cpu"), seconds=float(sys.argv[3]))
"""


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(("seconds", "left", "threads"), [("3600", 0, 1), ("0", 10, 2)], indirect=["threads"])
def test_a_killed_process_goes_on_to_the_same_bits_and_the_same_log(
    recipe: Recipe, data: Datasets, tmp_path: Path, seconds: str, left: int, threads: int
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, tmp_path / "cut", str(threads), seconds]
    killed = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    facts, tensors = checkpoint.read(tmp_path / "cut")
    assert (facts["epoch"], len(tensors["left"])) == (1, left)
    for folder in ("cut", "whole"):
        train(recipe, data, tmp_path / folder, CPU)
    for name in (checkpoint.NAME, "log.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_checkpoint_from_before_they_were_written_within_epochs_still_goes_on(
    recipe: Recipe, data: Datasets, tmp_path: Path
) -> None:
    one = replace(recipe, epochs=1, decay_at=(), kappa_ramp=(0.0, 0.0), epsilon_ramp=(0.0, 0.0))
    two = replace(one, epochs=2)
    train(one, data, tmp_path / "old", CPU)
    facts, tensors = checkpoint.read(tmp_path / "old")
    del facts["sums"], tensors["left"]
    facts["recipe"]["epochs"] = 2
    save_file(tensors, tmp_path / "old" / checkpoint.NAME, {"run": json.dumps(facts)})
    for folder in ("old", "whole"):
        train(two, data, tmp_path / folder, CPU)
    for name in (checkpoint.NAME, "log.csv"):
        assert (tmp_path / "old" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_log_is_in_the_checkpoint_and_outlives_its_file(
    recipe: Recipe, data: Datasets, tmp_path: Path
) -> None:
    train(recipe, data, tmp_path, CPU)
    whole = (tmp_path / "log.csv").read_bytes()
    for left in (b"", whole[: len(whole) // 2]):  # killed before the log was written
        (tmp_path / "log.csv").write_bytes(left)
        train(recipe, data, tmp_path, CPU)
        assert (tmp_path / "log.csv").read_bytes() == whole
    assert [row["epoch"] for row in rows(tmp_path)] == ["1", "2"]


def test_half_a_checkpoint_beside_a_whole_one_does_no_harm(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    train(recipe, data, tmp_path, CPU)
    whole = (tmp_path / checkpoint.NAME).read_bytes()
    (tmp_path / f"{checkpoint.NAME}.new").write_bytes(whole[:1000])
    train(recipe, data, tmp_path, CPU)
    assert (tmp_path / checkpoint.NAME).read_bytes() == whole


def test_a_checkpoint_is_tensors_and_json(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    train(recipe, data, tmp_path, CPU)
    facts, tensors = checkpoint.read(tmp_path)
    assert recipe.recorded_as(facts["recipe"])
    assert facts["epoch"] == 2
    assert [row["epoch"] for row in facts["log"]] == [1, 2]
    assert {name.split(".")[0] for name in tensors} == {"net", "optimizer", "generator", "left"}
    with safe_open(tmp_path / checkpoint.NAME, framework="pt") as file:
        assert file.metadata().keys() == {"run"}


def test_the_memory_layout_of_the_optimiser_follows_its_parameters(
    recipe: Recipe, data: Datasets, tmp_path: Path
) -> None:
    train(replace(recipe, precision="bfloat16"), data, tmp_path, CPU)
    net = METHODS[recipe.method].network(recipe).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = checkpoint.TrainingRun(net, torch.optim.Adam(net.parameters(), fused=True), torch.Generator())
    checkpoint.resume(run, tmp_path)
    assert not net[2].weight.is_contiguous()
    for parameter, state in run.optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()


def test_only_a_finished_run_is_built_upon(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train .* first"):
        checkpoint.finished(tmp_path)
    net = train(recipe, data, tmp_path, CPU)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in checkpoint.finished(tmp_path).items())
    run = checkpoint.TrainingRun(net, torch.optim.SGD(net.parameters()), torch.Generator(), 1)
    checkpoint.save(run, asdict(recipe), tmp_path)
    with pytest.raises(FileNotFoundError, match="finished"):
        checkpoint.finished(tmp_path)


def test_a_run_starts_from_the_network_of_another(recipe: Recipe, data: Datasets, tmp_path: Path) -> None:
    base = train(recipe, data, tmp_path / "base", CPU)
    still = replace(recipe, learning_rate=0.0)
    started = train(still, data, tmp_path / "next", CPU, tmp_path / "base")
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), started.parameters(), strict=True))
