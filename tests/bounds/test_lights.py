"""Nine published ImageNet classifiers, with random weights: read, bounded, contained, in bounded memory. The three
lightest always, the others with `scripts/test --slow`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from goodcert import engine
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import FLOAT32
from lights import FOLDER, LIGHTEST, NAMES, SHAPE, light

TESTS = Path(__file__).parent.parent


def measured(name: str) -> dict[str, Any]:
    """In a process of its own, whose memory nothing else has touched."""
    command = f"import lights; lights.measure({name!r})"
    environment = {"PYTHONPATH": f"{TESTS}:{':'.join(path for path in sys.path if path)}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    "name", [name if name in LIGHTEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_a_published_classifier_is_bounded_soundly_and_within_memory(name: str) -> None:
    result = measured(name)
    assert result["contained"]
    point, ball = result["widths"]
    assert all(width < float("inf") for width in ball)
    # A share of a softmax that may be anything is as wide as it gets.
    assert all(a < b or (a >= 1 and b >= 1) for a, b in zip(point, ball, strict=True))
    assert point[1] < 1e-3  # the first pool, a few layers in
    assert result["peak"] < 4 * 2**30


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("squeezenet", r"output shape \('N', 1000, 1, 1\)"),
        ("shufflenet", r"does not run on a batch of 2 images.*'n7'"),
    ],
)
def test_a_classifier_whose_batch_or_output_is_another_is_refused_with_the_reason(name: str, reason: str) -> None:
    model = light(name)
    del model.graph.output[1:]
    with pytest.raises(engine.EngineError, match=reason):
        engine.compile(model)


@pytest.mark.parametrize("name", LIGHTEST)
def test_a_file_of_an_old_version_is_read_as_it_ships(name: str) -> None:
    """Its weights are inputs too, made by ConstantOfShape."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    assert model.ir_version == 3
    graph = read_graph(model, SHAPE)
    prepare(graph, FLOAT32)
    assert graph.input_shape == SHAPE
