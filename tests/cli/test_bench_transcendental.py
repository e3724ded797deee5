"""`goodcert bench transcendental`, at its smallest."""

from pathlib import Path

import numpy as np
import pytest

from goodcert.cli import main as cli
from goodcert.cli.bench import transcendental
from goodcert.evaluation import findings, sweep
from goodcert.evaluation.functions import Array, Deployed
from goodcert.evaluation.kernels import Kernel


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs tried in every place, and held against arbitrary precision."""
    monkeypatch.setattr(sweep.every_place, "__defaults__", (2**21 - 1,))
    monkeypatch.setattr(findings, "WORST", 100)
    monkeypatch.setattr(findings, "NEIGHBOURS", 10)


def run(*options: str) -> int:
    return cli.main(["bench", "transcendental", "--stride", str(2**21 - 1), *options])


def test_it_writes_a_page_and_goes_on_from_its_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, page = tmp_path / "state.json", tmp_path / "page.md"
    assert run("--functions", "Exp", "Sqrt", "--state", str(state)) == 0
    assert run("--functions", "Tanh", "--state", str(state), "--write", str(page)) == 0
    assert "| Exp | ONNX Runtime | 2,049 |" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "- every 2,097,151th: Exp, Tanh, Sqrt." in text


def test_what_is_known_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--functions", "Exp", "--state", str(tmp_path / "state.json")) == 0
    monkeypatch.setattr(transcendental, "kernels", None)
    assert run("--functions", "Exp", "--state", str(tmp_path / "state.json")) == 0


def test_a_kernel_that_is_too_coarse_fails_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def coarse(function: Deployed) -> tuple[Kernel, ...]:
        def kernel(x: Array) -> Array:
            with np.errstate(over="ignore"):
                return function.reference(x).astype(np.float16).astype(np.float32)

        return (Kernel("coarse", kernel, lambda x: kernel(x.ravel()).reshape(x.shape)),)

    monkeypatch.setattr(transcendental, "kernels", coarse)
    assert run("--functions", "Tanh") == 1


def test_an_even_stride_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "transcendental", "--stride", "64"]) == 2
    assert "got 64, expected an odd number" in capsys.readouterr().out


def test_a_state_of_other_hardware_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    findings.State("an abacus").write(tmp_path / "state.json")
    assert run("--state", str(tmp_path / "state.json")) == 2
    assert "is of an abacus, and this is" in capsys.readouterr().out
