"""One image of a batch never sees another, however a graph tries."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert import engine
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rules import RULES
from goodcert.engine import EngineError
from goodcert.engine.checks import batch_independence
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from graphs import Operation, onnx_model

FLAT: list[Operation] = [("Flatten", ["x"], "f", {})]
DENSE: list[Operation] = [("Gemm", ["z", "w"], "y", {"transB": 1})]
WEIGHTS = {"w": np.arange(12, dtype=np.float32).reshape(3, 4) / 8}


def ints(*values: int) -> NDArray[Any]:
    return np.array(values, np.int64)


ATTACKS: dict[str, tuple[list[Operation], dict[str, Any]]] = {
    "transposed twice around a mean": (
        [("Transpose", ["f"], "t", {}), ("Softmax", ["t"], "s", {}), ("Transpose", ["s"], "z", {})], {},
    ),
    "largest of the batch, broadcast back": (
        [("ReduceMax", ["f"], "m", {"axes": [0]}), ("Add", ["f", "m"], "z", {})], {},
    ),
    "largest of the batch, through a row of every image": (
        [("ReduceMax", ["f"], "m", {"axes": [0], "keepdims": 0}), ("Sub", ["f", "m"], "z", {})], {},
    ),
    "sum over all axes": ([("ReduceSum", ["f"], "s", {}), ("Mul", ["f", "s"], "z", {})], {}),
    "softmax over the batch": ([("Softmax", ["f"], "z", {"axis": 0})], {}),
    "rows times rows": (
        [("Transpose", ["f"], "t", {}), ("MatMul", ["f", "t"], "s", {}), ("MatMul", ["s", "f"], "z", {})], {},
    ),
    "reversed batch": (
        [("Slice", ["f", "from", "to", "axis", "step"], "z", {})],
        {"from": ints(-1), "to": ints(-(2**62)), "axis": ints(0), "step": ints(-1)},
    ),
    "resized batch": (
        [("Resize", ["x", "", "twice"], "r", {}), ("Slice", ["r", "from", "to", "axis", "step"], "s", {}),
         ("Flatten", ["s"], "z", {})],
        {"twice": np.float32([2, 1, 1, 1]), "from": ints(0), "to": ints(2**62), "axis": ints(0), "step": ints(2)},
    ),
    "first image for all": (
        [("Gather", ["f", "zero"], "g", {"axis": 0}), ("Add", ["f", "g"], "z", {})], {"zero": ints(0)},
    ),
    "rows against rows": (
        [
            ("Unsqueeze", ["f", "one"], "u", {}), ("Unsqueeze", ["u", "one"], "v", {}),
            ("Add", ["v", "f"], "p", {}),
            ("GlobalAveragePool", ["p"], "g", {}), ("Flatten", ["g"], "h", {}), ("Mul", ["f", "h"], "z", {}),
        ],
        {"one": ints(1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_graph_in_which_images_see_each_other_is_refused(attack: str) -> None:
    operations, constants = ATTACKS[attack]
    model = onnx_model([*FLAT, *operations, *DENSE], {**WEIGHTS, **constants}, ["N", 1, 2, 2])
    with pytest.raises(EngineError, match="couples the images of a batch"):
        engine.compile(model)


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "rows against rows"])
def test_values_alone_betray_the_coupling(attack: str) -> None:
    operations, constants = ATTACKS[attack]
    graph = read_graph(onnx_model([*FLAT, *operations, *DENSE], {**WEIGHTS, **constants}, ["N", 1, 2, 2]))
    with pytest.raises(EngineError, match="couples the images of a batch"):
        batch_independence.check_values(AdmittedGraph(graph))


def test_movements_inside_an_image_are_certified() -> None:
    operations: list[Operation] = [
        ("Transpose", ["x"], "t", {"perm": [0, 2, 3, 1]}),
        ("ReduceMax", ["t"], "m", {"axes": [1], "keepdims": 1}),
        ("Sub", ["t", "m"], "d", {}),
        ("LeakyRelu", ["d"], "l", {"alpha": 0.25}),
        ("Split", ["l"], "a", {"axis": 2}),
        ("Squeeze", ["a", "three"], "s", {}),
        ("Flatten", ["s"], "z", {}),
        *DENSE,
    ]
    model = onnx_model(operations, {**WEIGHTS, "three": ints(3)}, ["N", 1, 2, 2])
    certificates = engine.compile(model).certify(np.full((3, 1, 2, 2), 0.5, np.float32), 0.1)
    assert certificates.sound().all()


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_a_dense_layer_whose_bias_varies_is_refused_by_name(beta: float) -> None:
    operations: list[Operation] = [*FLAT, ("Gemm", ["f", "v", "f"], "z", {"beta": beta}), *DENSE]
    model = onnx_model(operations, {**WEIGHTS, "v": np.eye(4, dtype=np.float32)}, ["N", 1, 2, 2])
    with pytest.raises(EngineError, match=r"'node1' \(Gemm\)"):
        engine.compile(model)


def test_every_operator_of_classifiers_has_a_rule() -> None:
    assert set(RULES) == set(batch_independence.KEEPS) | batch_independence.BOX_BY_BOX


@pytest.mark.parametrize("op", sorted(batch_independence.BOX_BY_BOX))
def test_an_operator_that_nothing_is_guaranteed_for_is_refused_by_name(op: str) -> None:
    attributes = {"num_groups": 1} if op == "GroupNormalization" else {}
    operations: list[Operation] = [(op, ["x", "one", "one"], "n", attributes), ("Flatten", ["n"], "z", {}), *DENSE]
    scale = {"one": np.ones(2 if op == "LayerNormalization" else 1, np.float32)}
    model = onnx_model(operations, {**WEIGHTS, **scale}, ["N", 1, 2, 2], opset=21)
    with pytest.raises(EngineError, match=rf"'node0' \({op}\): divides by a spread"):
        engine.compile(model)
