"""What processes of a service tell each other of a model file."""

from pathlib import Path

import numpy as np
import pytest

from goodcert import engine
from goodcert.engine import onnx_engine, remembered
from goodcert.engine.remembered import Remembered
from graphs import classifier


def test_the_graph_that_bounds_is_made_once_a_file_and_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = [], onnx_engine.one_graph
    monkeypatch.setattr(onnx_engine, "one_graph", lambda graph: made.append(graph) or real(graph))
    images = np.random.default_rng(0).random((5, *engine.compile(classifier()).input_shape), dtype=np.float32)
    alone, first, second = (
        engine.compile(classifier(), remember_in=folder).certify(images, 0.1).margins
        for folder in (None, tmp_path, tmp_path)
    )
    assert len(made) == 3  # for the input shape, for none, and for the first of the two that share a folder
    assert alone.tobytes() == first.tobytes() == second.tobytes()
    engine.compile(classifier(seed=1), remember_in=tmp_path)
    assert len(made) == 4


def test_a_large_graph_and_one_that_cannot_be_written_are_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "MOST_BYTES", 3)
    for folder, graph in ((tmp_path, b"four"), (tmp_path / "missing", b"two")):
        known = Remembered(folder, b"file")
        assert [known.bound_graph(lambda made=made: made) for made in (graph, b"2nd")] == [graph, b"2nd"]


def test_only_what_was_validated_is(tmp_path: Path) -> None:
    Remembered(tmp_path, b"one").set_validated()
    assert Remembered(tmp_path, b"one").validated
    assert not Remembered(tmp_path, b"two").validated
