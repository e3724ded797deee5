"""Whatever is said to watch an assumption exists, and what nothing watches says why."""

import argparse
import ast
import importlib
import shlex
from pathlib import Path

import pytest

from goodcert.engine.assumptions import ASSUMPTIONS, Assumption, table_markdown

ROOT = Path(__file__).parents[2]
ALL = [assumption for about in ASSUMPTIONS.values() for assumption in about]
WATCHES = sorted({watch for assumption in ALL for watch in assumption.watched})


def exists(watch: str) -> bool:
    if watch.startswith("tests/"):
        path, _, name = watch.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        return name.startswith("test_") and name in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    if watch.startswith("goodcert."):
        module, _, name = watch.rpartition(".")
        return callable(getattr(importlib.import_module(module), name))
    command, verb, *rest = shlex.split(watch)
    parser = argparse.ArgumentParser()
    importlib.import_module(f"goodcert.cli.{verb}").add_arguments(parser)
    return command == "goodcert" and bool(parser.parse_args(rest))


@pytest.mark.parametrize("watch", WATCHES)
def test_every_watch_exists(watch: str) -> None:
    assert exists(watch)


def test_a_watch_that_does_not_exist_would_be_found() -> None:
    assert not exists("tests/engine/test_assumptions.py::test_that_nobody_wrote")
    assert not exists("tests/engine/test_assumptions.py::exists")


@pytest.mark.parametrize("name", [watch for watch in WATCHES if watch.startswith("goodcert.")])
def test_what_is_said_to_run_at_load_is_called_there(name: str) -> None:
    """By `compile`, or by the choice of the device that it begins with."""
    called = name.rpartition(".")[2]
    sources = (ROOT / "models/goodcert/engine" / file for file in ("compile.py", "device.py"))
    assert any(
        f"{called}(" in source.read_text(encoding="utf-8").replace(f"def {called}(", "") for source in sources
    )


@pytest.mark.parametrize("assumption", ALL, ids=lambda assumption: assumption.assumed[:40])
def test_an_assumption_is_watched_or_says_why_not(assumption: Assumption) -> None:
    assert assumption.watched or assumption.unwatched
    assert assumption.assumed.endswith((".", ")"))
    assert assumption.needed


def test_the_page_has_every_assumption_and_says_what_is_not_watched() -> None:
    page = table_markdown()
    assert all(assumption.assumed in page for assumption in ALL)
    assert page.count("**Not watched**") == sum(bool(assumption.unwatched) for assumption in ALL)
