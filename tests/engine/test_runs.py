"""Rows are shared by threads and runs as they are worth it, and no row notices."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert.bounds.reader import read_graph
from goodcert.bounds.writer import write_graph
from goodcert.engine import runtime
from goodcert.engine.runtime import ROWS, RowRunner
from graphs import classifier

Once = Callable[[RowRunner, Sequence[NDArray[np.float32]]], tuple[NDArray[Any], ...]]


class Watched:
    """Remembers the rows and the thread of every run."""

    def __init__(self, once: Once) -> None:
        self._once = once
        self.runs: list[tuple[int, int]] = []

    def __call__(self, inputs: Sequence[NDArray[np.float32]], runner: RowRunner) -> tuple[NDArray[Any], ...]:
        self.runs.append((len(inputs[0]), threading.get_ident()))
        return self._once(runner, inputs)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched(RowRunner._once)
    monkeypatch.setattr(RowRunner, "_once", lambda runner, inputs: watched(inputs, runner))
    return watched


def runner(threads: int) -> RowRunner:
    return RowRunner(write_graph(read_graph(classifier())), threads)


def images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)


def test_many_rows_are_run_a_few_at_a_time_and_come_back_in_order(watched: Watched) -> None:
    run, rows = runner(1), images(2 * ROWS + 1)
    (together,) = run(rows)
    assert [count for count, _ in watched.runs] == [17, 16, 16]  # a third each of 49
    assert np.array_equal(together, np.concatenate([run(rows[i : i + 1])[0] for i in range(len(rows))]))


def test_work_that_takes_long_is_shared_by_all_threads(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SECONDS_WORTH_A_THREAD", 1e-12)
    run, rows = runner(3), images(30)
    expected = run(rows)[0]
    watched.runs.clear()
    assert np.array_equal(run(rows)[0], expected)
    assert sorted(count for count, _ in watched.runs) == [10, 10, 10]


def test_work_that_is_soon_done_is_left_to_the_caller(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SECONDS_WORTH_A_THREAD", 1e6)
    run = runner(3)
    run(images(12))
    assert watched.runs == [(12, threading.get_ident())]
