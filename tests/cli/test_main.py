"""The command line without its verbs' work: help, missing extras, tables."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from goodcert.cli import main as cli
from goodcert.cli.table import TableRow, digits, render
from goodcert.serve.server import process, supervisor
from goodcert.serve.settings.settings import Settings


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in cli.VERBS)


def test_a_missing_extra_is_one_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SystemExit, match=r"needs torch.*pip install 'goodcert\[train\]'"):
        cli.main(["train", "mnist-good100"])


@pytest.mark.parametrize(("workers", "runner"), [(1, process), (2, supervisor)])
def test_serve_hands_its_settings_to_who_runs_one_process_or_several(
    monkeypatch: pytest.MonkeyPatch, workers: int, runner: ModuleType
) -> None:
    chosen: list[Settings] = []
    monkeypatch.setattr(runner, "run", chosen.append)
    assert cli.main(["serve", "--workers", str(workers), "--port", "0"]) == 0
    assert [(settings.workers, settings.port) for settings in chosen] == [(workers, 0)]


def test_asking_for_help_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'numpy', 'onnx', 'fastapi'}"
    code = f"import sys; from goodcert.cli import main; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_bound_is_never_shown_lower_and_a_confidence_never_higher_than_it_is() -> None:
    assert digits(0.1234561, up=True) == "0.123457"
    assert digits(0.1234569, up=False) == "0.123456"
    assert digits(1.0, up=True) == "1.000000"


def test_columns_are_aligned() -> None:
    lines = render([TableRow("a.png", "7", "0.9", "1.0", "in_distribution")]).split("\n")
    assert lines[0].index("prediction") == lines[1].index("7")


def test_operators_are_listed_with_what_their_rules_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--operators"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "increasing" in lines["Clip"]
    assert "(max, min)" in lines["Clip"]
    assert " any " in lines["Add"]


def test_the_certified_radius_is_a_column_only_where_it_was_asked_for() -> None:
    row = TableRow("a.png", "7", "0.9", "1.0", "out_of_distribution_certified", "0.1234")
    assert "radius" not in render([row])
    heading, line = render([row], radius=True).split("\n")
    assert heading.endswith("certified radius")
    assert line.endswith("0.1234")
