import numpy as np
import onnx
import pytest

from goodcert.bounds.reader import read_graph
from goodcert.bounds.writer import write_graph
from graphs import Operation, classifier, onnx_model, run_onnx

RANDOM = np.random.default_rng(3)
NORM = {"s": [1.0, -2.0], "t": [0.0, 1.0], "mu": [0.1, 0.2], "va": [1.0, 2.0]}
WEIGHTS = {
    "w": RANDOM.standard_normal((2, 1, 3, 3)).astype(np.float32),
    "v": RANDOM.standard_normal((72, 3)).astype(np.float32),
    "b": RANDOM.standard_normal(3).astype(np.float32),
    "shape": np.array([0, -1]),
}
FOLDED: list[Operation] = [
    ("Conv", ["x", "w"], "c", {"pads": [0, 0, 0, 0]}),
    ("BatchNormalization", ["c", "s", "t", "mu", "va"], "n", {}),
    ("Relu", ["n"], "r", {}),
    ("Dropout", ["r"], "d", {}),
    ("Reshape", ["d", "shape"], "f", {}),
    ("MatMul", ["f", "v"], "m", {}),
    ("Add", ["m", "b"], "y", {}),
]
NORM_ALONE: list[Operation] = [
    ("BatchNormalization", ["x", "s1", "t1", "mu1", "va1"], "n", {}),
    ("Relu", ["n"], "y", {}),
]
ONE = {"s1": [2.0], "t1": [0.5], "mu1": [0.1], "va1": [1.5]}


@pytest.mark.parametrize(
    "model",
    [
        classifier(),
        onnx_model(FOLDED, WEIGHTS | NORM, ["N", 1, 8, 8]),
        onnx_model(NORM_ALONE, ONE, ["N", 1, 8, 8]),
        onnx_model([("Flatten", ["x"], "y", {})], {}, ["N", 1, 8, 8]),
    ],
    ids=["classifier", "folded", "norm", "flatten"],
)
def test_written_graph_computes_what_the_original_computes(model: onnx.ModelProto) -> None:
    x = RANDOM.random((5, 1, 8, 8), dtype=np.float32)
    written = write_graph(read_graph(model))
    np.testing.assert_allclose(run_onnx(written, x)[0], run_onnx(model, x)[0], rtol=1e-5, atol=1e-5)


def test_written_graph_is_a_valid_file_that_reads_back_the_same() -> None:
    graph = read_graph(classifier())
    written = write_graph(graph)
    onnx.checker.check_model(written, full_check=True)
    again = read_graph(written)
    assert again.nodes == graph.nodes
    assert again.input_shape == graph.input_shape
    assert all((again.constants[name] == value).all() for name, value in graph.constants.items())
