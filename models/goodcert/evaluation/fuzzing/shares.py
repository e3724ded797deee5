"""Many classifiers in several processes, until there are enough or the time is over."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from time import monotonic

import torch
from tqdm import tqdm

from goodcert.evaluation.fuzzing import cases
from goodcert.evaluation.fuzzing.classifiers import VERSIONS
from goodcert.evaluation.fuzzing.record import FuzzTally
from goodcert.evaluation.fuzzing.trial import Trial, attempt

SHARE = 20
"""Classifiers that a process does before it is asked again."""


@dataclass
class Done:
    """count: how many of the numbers, from the first on, were tried. found: a line for each that is not as it must
    be."""

    tally: FuzzTally = field(default_factory=FuzzTally)
    found: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, other: "Done") -> None:
        self.tally.add(other.tally)
        self.found += other.found
        self.count += other.count


def run(
    seed: int,
    numbers: range,
    processes: int,
    seconds: float | None,
    folder: Path,
    *,
    leaders: Sequence[str] = tuple(VERSIONS),
    validate: bool = True,
) -> Done:
    """All of the numbers, or, where the time is over before, the first of them."""
    ends, done = monotonic() + (seconds or float("inf")), Done()
    parts = (numbers[start : start + SHARE] for start in range(0, len(numbers), SHARE))
    with tqdm(total=len(numbers), desc="fuzz classifiers", leave=False) as bar:
        do = partial(share, seed, folder=folder, leaders=leaders, validate=validate)
        for one in _shares(parts, processes, ends, do):
            done.add(one)
            bar.update(one.count)
            bar.set_postfix(accepted=done.tally.total.accepted, contradictions=done.tally.total.contradictions)
    done.found.sort()
    return done


def _shares(parts: Iterator[range], processes: int, ends: float, do: Callable[[range], Done]) -> Iterator[Done]:
    """Each part once, in any order; none is begun after the end, so what is done is the first of them."""
    if processes == 1:
        for part in parts:
            yield do(part)
            if monotonic() > ends:
                return
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running: set[Future[Done]] = {pool.submit(do, part) for part in islice(parts, processes)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            more = islice(parts, len(finished)) if monotonic() < ends else ()
            running |= {pool.submit(do, part) for part in more}
            yield from (future.result() for future in finished)


def share(
    seed: int, numbers: range, *, folder: Path, leaders: Sequence[str] = tuple(VERSIONS), validate: bool = True
) -> Done:
    """A few of them, in this process."""
    done = Done()
    for index in numbers:
        trial = attempt(seed, index, leaders=leaders, validate=validate)
        done.tally.count(trial)
        done.found += _found(seed, trial, folder)
        done.count += 1
    return done


def _found(seed: int, trial: Trial, folder: Path) -> Iterator[str]:
    name = f"{seed}-{trial.index}"
    if trial.outcome == "broken":
        yield f"{name}: {trial.reason}"
    for place, contradiction in enumerate(trial.searched.contradictions if trial.searched else ()):
        path = cases.save(folder, f"{name}-{place}", trial.classifier.model, contradiction)
        yield f"{name}: {contradiction}; goodcert fuzz replay {path}"


def software() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "onnx", "torch", "numpy"))


def instructions() -> str:
    """The widest vector instructions that PyTorch found in the processor."""
    return str(torch.backends.cpu.get_cpu_capability())
