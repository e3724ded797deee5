"""What the command line says about a file, with and without a sidecar."""

import re
from pathlib import Path

import onnx
import pytest

from goodcert.artifact import read
from goodcert.cli import main as cli
from graphs import classifier
from hostile_models import SIDECAR


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    onnx.save(classifier(classes=3), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_a_file_without_metadata_gets_a_sidecar_to_start_from_which_lacks_what_only_its_owner_knows(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(bare)]) == 0
    shown = capsys.readouterr().out
    assert "missing" in shown
    start = shown[shown.index("labels = ") :]
    bare.with_name("model.toml").write_text(start)
    assert cli.main(["inspect", str(bare)]) == 0
    assert "missing epsilon, threshold" in capsys.readouterr().out
    bare.with_name("model.toml").write_text(re.sub(r"^# (epsilon|threshold)", r"\1", start, flags=re.M))
    assert cli.main(["inspect", str(bare)]) == 0
    assert "method Plain, epsilon 0.01, threshold 0.900000" in capsys.readouterr().out
    assert read(bare).metadata.input_shape == (1, 8, 8)


def test_a_sidecar_for_another_graph_is_noticed(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare.with_name("model.toml").write_bytes(SIDECAR)
    assert cli.main(["inspect", str(bare)]) == 0
    assert "the graph has" in capsys.readouterr().out
