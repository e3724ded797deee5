"""What ONNX Runtime makes of each node is held against its rule, and no other node can hide it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from goodcert import engine
from goodcert.bounds.reader import read_graph
from goodcert.engine.checks import separate_nodes, translation
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.errors import EngineError
from goodcert.engine.node_types import COVERED, require_known
from goodcert.engine.sessions import LEVELS, optimised
from graphs import Operation, classifier, onnx_model, run_onnx

SILENT = -1e3
"""A bias under which a ReLU is 0 for every image of random pixels."""


def weights(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def silenced(*operations: Operation) -> onnx.ModelProto:
    """A classifier of (N, 2, 6, 6) that reads an image through a ReLU, `h`, and then `operations`, to `y`. The
    ReLU is 0 for images of random pixels."""
    kernel = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    constants = {
        "silent": np.full((2, 2, 6, 6), 20, np.float32), "bias": np.full(2, SILENT, np.float32),
        "low": np.float32(0),
        "wide": np.ones((1, 2, 6, 6), np.float32), "first": np.ones((2, 2), np.float32), "high": np.float32(6),
        "k": kernel, "k2": kernel[:, :, ::-1].copy(),
    }  # fmt: skip
    made: list[Operation] = [
        ("Conv", ["x", "silent", "bias"], "c", {}),
        ("Relu", ["c"], "r", {}),
        ("Mul", ["r", "wide"], "h", {}),
        ("Mul", ["h", "h"], "squares", {}),
        *operations,
        ("ReduceMax", ["y"], "m", {"axes": [2, 3], "keepdims": 0}),
        ("Gemm", ["m", "first"], "z", {}),
    ]
    read = {name for _, inputs, _, _ in made for name in inputs}
    known = {name: value for name, value in constants.items() if name in read}
    return onnx_model(made, known, ["N", 2, 6, 6], outputs=["z"])


def pool(op: str, **attributes: Any) -> Operation:
    return (op, ["h"], "y", attributes)


# what the file says, and what a reader that is wrong would take it for
MISREAD: dict[str, tuple[Operation, Operation]] = {
    "clip": (("Clip", ["h", "low", "high"], "y", {}), ("Clip", ["h", "low", "low"], "y", {})),
    "operator": (pool("MaxPool", kernel_shape=[2, 2]), pool("AveragePool", kernel_shape=[2, 2])),
    "strides": (
        pool("MaxPool", kernel_shape=[2, 2], strides=[2, 1]), pool("MaxPool", kernel_shape=[2, 2], strides=[1, 2]),
    ),
    "pads": (
        pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0),
    ),
    "permutation": (pool("Transpose", perm=[0, 1, 3, 2]), pool("Transpose", perm=[0, 1, 2, 3])),
    "slope": (pool("LeakyRelu", alpha=0.1), pool("LeakyRelu", alpha=0.2)),
    "weights": (("Conv", ["h", "k"], "y", {}), ("Conv", ["h", "k2"], "y", {})),
    "dilations": (
        ("Conv", ["h", "k"], "y", {"dilations": [2, 1]}), ("Conv", ["h", "k"], "y", {"dilations": [1, 2]}),
    ),
    "order": (
        ("Concat", ["h", "squares"], "y", {"axis": 2}), ("Concat", ["squares", "h"], "y", {"axis": 2}),
    ),
    "sign": (("Sub", ["h", "squares"], "y", {}), ("Sub", ["squares", "h"], "y", {})),
}  # fmt: skip


@pytest.mark.parametrize("case", MISREAD)
def test_a_node_that_is_read_otherwise_than_it_runs_is_refused_by_name(case: str) -> None:
    said, taken = (silenced(node) for node in MISREAD[case])
    images = np.random.default_rng(0).random((16, 2, 6, 6), dtype=np.float32)
    assert np.array_equal(run_onnx(said, images)[0], run_onnx(taken, images)[0]), "random images tell them apart"
    translation.check(said, AdmittedGraph(read_graph(said, fold_weights=False)))
    with pytest.raises(EngineError, match=r"'node4'|value 'y'|constant 'k2?'"):
        translation.check(said, AdmittedGraph(read_graph(taken, fold_weights=False)))


def test_a_constant_that_is_read_otherwise_is_refused_by_name() -> None:
    said = onnx_model([("Add", ["x", "k"], "y", {})], {"k": [1.0, 2.0]}, ["N", 2])
    taken = onnx_model([("Add", ["x", "k"], "y", {})], {"k": [1.0, np.nextafter(np.float32(2), 3)]}, ["N", 2])
    with pytest.raises(EngineError, match="constant 'k'"):
        translation.check(said, AdmittedGraph(read_graph(taken, fold_weights=False)))


ARCHITECTURES: dict[str, onnx.ModelProto] = {
    "plain": classifier(),
    "blocks": onnx_model(
        [
            ("Conv", ["x", "w1", "b"], "c", {"pads": [1, 1, 1, 1]}),
            ("Relu", ["c"], "r", {}),
            ("MaxPool", ["r"], "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Conv", ["p", "w2"], "d", {"pads": [1, 1, 1, 1]}),
            ("Add", ["d", "p"], "s", {}),
            ("Relu", ["s"], "t", {}),
            ("GlobalAveragePool", ["t"], "g", {}),
            ("Flatten", ["g"], "y", {}),
        ],
        {"w1": weights(16, 3, 3, 3), "b": weights(16), "w2": weights(16, 16, 3, 3, seed=1)},
        ["N", 3, 8, 8],
    ),
    "activations after the layout": onnx_model(
        [
            ("Conv", ["x", "w"], "c", {}),
            ("HardSwish", ["c"], "h", {}),
            ("Conv", ["h", "v"], "d", {}),
            ("HardSigmoid", ["d"], "e", {"alpha": 0.3}),
            ("Flatten", ["e"], "y", {}),
        ],
        {"w": weights(16, 1, 3, 3), "v": weights(16, 16, 2, 2, seed=1)},
        ["N", 1, 4, 4],
    ),
    "a fixed batch": onnx_model(
        [("Flatten", ["x"], "f", {}), ("Gemm", ["f", "w"], "y", {})], {"w": weights(4, 3)}, [1, 1, 2, 2]
    ),
    "computed twice": onnx_model(
        [
            ("Abs", ["x"], "a", {}),
            ("Abs", ["x"], "b", {}),
            ("Identity", ["b"], "c", {}),
            ("Concat", ["a", "c"], "d", {"axis": 1}),
            ("Flatten", ["d"], "y", {}),
        ],
        {},
        ["N", 1, 2, 2],
    ),
    "a norm and a scale": onnx_model(
        [
            ("Conv", ["x", "w"], "c", {}),
            ("BatchNormalization", ["c", "g", "b", "m", "v"], "n", {}),
            ("Mul", ["n", "k"], "s", {}),
            ("Relu", ["s"], "r", {}),
            ("Flatten", ["r"], "y", {}),
        ],
        {
            "w": weights(16, 1, 2, 2), "g": np.full(16, 3, np.float32), "b": np.ones(16, np.float32),
            "m": np.full(16, 5, np.float32), "v": np.full(16, 2, np.float32),
            "k": np.full((16, 1, 1), 0.7, np.float32),
        },
        ["N", 1, 4, 4],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_runs_as_it_is_read_is_admitted(name: str) -> None:
    model = ARCHITECTURES[name]
    translation.check(model, AdmittedGraph(read_graph(model, fold_weights=False)))


@pytest.mark.parametrize("name", ["blocks", "activations after the layout", "a norm and a scale"])
def test_every_operator_that_optimisation_makes_is_compared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ARCHITECTURES[name].SerializeToString()
    made = {level: {node.op_type for node in optimised(data, level).graph.node} for level in LEVELS}
    assert any(node.domain for node in optimised(data, "all").graph.node), "nothing is optimised here"
    compared: set[str] = set()
    real = translation._compare

    def watched(node: Any, value: Any, box: Any, level: str) -> None:
        compared.update(proto.op_type for proto in node.nodes)
        real(node, value, box, level)

    monkeypatch.setattr(translation, "_compare", watched)
    translation.check(ARCHITECTURES[name], AdmittedGraph(read_graph(ARCHITECTURES[name], fold_weights=False)))
    assert set().union(*made.values()) <= compared


class Wrong:
    """A runtime whose every value is a little off."""

    def __init__(self, runtime: Any) -> None:
        self._runtime = runtime

    def run(self, names: Any, feeds: Any) -> list[Any]:
        return [x + np.float32(0.01) for x in self._runtime.run(names, feeds)]


def test_a_runtime_that_computes_something_else_is_refused_with_both_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = separate_nodes.session
    monkeypatch.setattr(separate_nodes, "session", lambda model, level: Wrong(real(model, level)))
    with pytest.raises(EngineError, match=r"computes .* at .*its rule says .* to "):
        engine.compile(classifier())
    engine.compile(classifier(), validate=False)


def test_a_file_that_passed_is_remembered_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a runtime that has become wrong: what it is asked about is refused, what passed is not asked
    again."""
    other = classifier(seed=1)
    engine.compile(classifier(), remember_in=tmp_path)
    real = separate_nodes.session
    monkeypatch.setattr(separate_nodes, "session", lambda model, level: Wrong(real(model, level)))
    engine.compile(classifier(), remember_in=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for model in (classifier(), other):
        with pytest.raises(EngineError, match="its rule says"):
            engine.compile(model, remember_in=elsewhere)
    with pytest.raises(EngineError, match="its rule says"):
        engine.compile(other, remember_in=tmp_path)
    with pytest.raises(EngineError, match="its rule says"):
        engine.compile(other, remember_in=tmp_path)  # a refused one is not remembered


def test_an_operator_that_nobody_looked_at_is_refused() -> None:
    model = classifier()
    runs = onnx.ModelProto()
    runs.CopyFrom(model)
    runs.graph.node.append(helper.make_node("Novel", ["x"], ["y"], name="fused", domain="com.microsoft"))
    with pytest.raises(EngineError, match=r"node 'fused'.*com\.microsoft:Novel.*level 'all'"):
        require_known(model, runs, "all")


def test_every_operator_that_is_covered_has_its_reason() -> None:
    assert all(reason and ":" in kind for kind, reason in COVERED.items())
