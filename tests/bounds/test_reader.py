"""What is read, and what is refused by name."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.reader import read_graph
from graphs import Operation, onnx_model

RELU: list[Operation] = [("Relu", ["x"], "y", {})]
ADD: list[Operation] = [("Add", ["x", "w"], "y", {})]


def test_a_model_becomes_nodes_constants_and_the_one_input_that_varies() -> None:
    graph = read_graph(onnx_model(ADD, {"w": [1.0, 2.0]}, ["N", 2]))
    assert (graph.input, graph.input_shape, graph.outputs) == ("x", (None, 2), ("y",))
    assert [(n.op, n.inputs, n.output, n.name) for n in graph.nodes] == [("Add", ("x", "w"), "y", "node0")]
    assert graph.constants["w"].tolist() == [1, 2]


def test_an_initializer_that_is_also_listed_as_input_is_a_constant() -> None:
    model = onnx_model(ADD, {"w": [1.0, 2.0]}, ["N", 2])
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]))
    assert read_graph(model).input == "x"


@pytest.mark.parametrize("op", ["Sigmoid", "Softmax", "LayerNormalization", "ReduceMean"])
def test_operator_without_a_rule_is_left_for_the_rules_to_refuse(op: str) -> None:
    inputs = ["x", "w"] if op == "LayerNormalization" else ["x"]
    graph = read_graph(onnx_model([(op, inputs, "y", {})], {"w": [1.0, 2.0]}, ["N", 2]))
    assert [n.op for n in graph.nodes] == [op]


def test_operator_unknown_to_onnx_is_refused_by_operator() -> None:
    with pytest.raises(Unsupported, match="Frobnicate"):
        read_graph(onnx_model([("Frobnicate", ["x"], "y", {})], {}, ["N", 2]))


def test_custom_domain_is_refused_by_node_and_operator() -> None:
    model = onnx_model(RELU, {}, ["N", 2])
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(Unsupported, match=r"'node0' \(Relu\): domain 'com.example'"):
        read_graph(model)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value: float) -> None:
    with pytest.raises(Unsupported, match="'w' hold NaN or infinity"):
        read_graph(onnx_model(ADD, {"w": [1.0, value]}, ["N", 2]))


def test_a_constant_node_that_is_not_finite_is_refused() -> None:
    operations: list[Operation] = [("Constant", [], "w", {"value_float": float("nan")}), *ADD]
    with pytest.raises(Unsupported, match="NaN or infinity"):
        read_graph(onnx_model(operations, {}, ["N", 2]))


def test_folding_that_overflows_is_refused() -> None:
    operations: list[Operation] = [("Mul", ["a", "a"], "w", {}), *ADD]
    with pytest.raises(Unsupported, match=r"NaN or infinity|finite"):
        read_graph(onnx_model(operations, {"a": [1e30]}, ["N", 2]))


def test_weights_in_double_precision_are_refused() -> None:
    with pytest.raises(Unsupported, match="'w' are DOUBLE"):
        read_graph(onnx_model(ADD, {"w": np.ones(2)}, ["N", 2]))


def test_external_data_is_refused(tmp_path: Path) -> None:
    model = onnx_model(ADD, {"w": np.ones(2000, np.float32)}, ["N", 2000])
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0, location="w.bin")
    with pytest.raises(Unsupported, match=r"external data|w\.bin"):
        read_graph(onnx.load(tmp_path / "m.onnx", load_external_data=False))


def test_sparse_weights_are_refused() -> None:
    model = onnx_model(ADD, {}, ["N", 2])
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("w_indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2]))
    with pytest.raises(Unsupported, match="sparse"):
        read_graph(model)


def test_two_inputs_are_refused_by_name() -> None:
    model = onnx_model([("Add", ["x", "z"], "y", {})], {}, ["N", 2])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2]))
    with pytest.raises(Unsupported, match=r"\['x', 'z'\], expected exactly one"):
        read_graph(model)


def test_input_of_another_type_is_refused() -> None:
    with pytest.raises(Unsupported, match="'x' is DOUBLE, expected FLOAT"):
        read_graph(onnx_model(RELU, {}, ["N", 2], input_type=TensorProto.DOUBLE))


def test_control_flow_is_refused_by_node_and_operator() -> None:
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])],
        "b",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 2])],
    )
    operations: list[Operation] = [("If", ["c"], "y", {"then_branch": branch, "else_branch": branch})]
    with pytest.raises(Unsupported, match=r"'node0' \(If\): control flow"):
        read_graph(onnx_model(operations, {"c": np.array(True)}, ["N", 2]))
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "b",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    operations = [("Loop", ["", "c"], "z", {"body": body}), *RELU]
    with pytest.raises(Unsupported, match=r"'node0' \(Loop\): control flow"):
        read_graph(onnx_model(operations, {"c": np.array(True)}, ["N", 2]))


@pytest.mark.parametrize("opset", [1, 6])
def test_opset_older_than_the_rules_is_refused(opset: int) -> None:
    with pytest.raises(Unsupported, match=f"opset {opset}|valid ONNX"):
        read_graph(onnx_model(RELU, {}, ["N", 2], opset=opset))


def test_opset_newer_than_the_library_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"opset 9999|valid ONNX"):
        read_graph(onnx_model(RELU, {}, ["N", 2], opset=9999))


def test_model_functions_are_refused() -> None:
    model = onnx_model([("Twice", ["x"], "y", {})], {}, ["N", 2])
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    add = helper.make_node("Add", ["a", "a"], ["b"])
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("com.example", "Twice", ["a"], ["b"], [add], opsets))
    with pytest.raises(Unsupported, match="Twice"):
        read_graph(model)


def test_second_output_that_is_used_is_refused() -> None:
    model = onnx_model([("MaxPool", ["x"], "y", {"kernel_shape": [2]})], {}, ["N", 1, 4])
    model.graph.node[0].output.append("indices")
    with pytest.raises(Unsupported, match=r"'node0' \(MaxPool\): 2 outputs"):
        read_graph(model)
