"""`goodcert bench transcendental`: every float32 input of every function that the proofs trust kernels for."""

import argparse
from pathlib import Path
from time import monotonic

import torch
from tqdm import tqdm

from goodcert.cli.bench import Result
from goodcert.evaluation import findings, speed
from goodcert.evaluation.accuracy import order_of
from goodcert.evaluation.findings import State
from goodcert.evaluation.functions import FUNCTIONS
from goodcert.evaluation.kernels import kernels
from goodcert.evaluation.sweep import Sweep, sweep

_SAVE_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--functions", nargs="+", choices=[*FUNCTIONS], default=[*FUNCTIONS], metavar="NAME")
    parser.add_argument("--stride", type=int, default=1, metavar="N", help="an odd number; default: 1, all inputs")
    parser.add_argument("--state", type=Path, metavar="FILE", help="go on from this file, and keep it up to date")


def measure(options: argparse.Namespace) -> Result | str:
    if options.stride % 2 == 0 or options.stride < 1:
        return f"--stride: got {options.stride}, expected an odd number, so that all last bits of inputs occur"
    torch.set_num_threads(1)
    try:
        state = (
            findings.read(options.state, speed.hardware("cpu")) if options.state else State(speed.hardware("cpu"))
        )
    except ValueError as error:
        return f"--state: {error}"
    for name in options.functions:
        if not state.knows(name, options.stride):
            state = _measured(name, options.stride, state, options.state)
    failed = not all(finding.holds for finding in state.findings)
    return Result(findings.table(state.findings), findings.page(state), failed)


def _measured(name: str, stride: int, state: State, path: Path | None) -> State:
    """With the findings of one function more."""
    function, saved = FUNCTIONS[name], monotonic()
    ran = kernels(function)
    done = state.sweeps.get((name, stride), Sweep.start(len(ran)))
    total = len(order_of(function, stride))
    with tqdm(total=total, initial=done.done, desc=name, unit="input", unit_scale=True, leave=False) as bar:
        for step in sweep(function, ran, stride, done):
            done = step
            bar.update(done.done - bar.n)
            if path and monotonic() - saved > _SAVE_SECONDS:
                state.begun(name, stride, done).write(path)
                saved = monotonic()
    state = state.concluded(name, stride, findings.conclude(function, ran, stride, done))
    if path:
        state.write(path)
    return state
