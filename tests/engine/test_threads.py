"""How many threads share the images."""

import os

import pytest

from goodcert.engine.threads import at_once


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with 64 cores, of which this process has three."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)


def test_there_is_a_thread_for_every_core_that_the_process_may_use() -> None:
    assert at_once("cpu", None) == 3


def test_where_the_system_does_not_tell_there_is_one_for_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert at_once("cpu", None) == 64


def test_as_many_as_asked_for_and_one_on_a_gpu() -> None:
    assert at_once("cpu", 7) == 7
    assert at_once("cuda", 7) == at_once("cuda", None) == 1
