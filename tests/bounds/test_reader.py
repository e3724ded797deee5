"""What is read, and what is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.outputs import interval_outputs
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


# --- what tools may read differently ------------------------------------------------------------------


@pytest.mark.parametrize(
    "imports",
    [
        [("", 17), ("ai.onnx", 11)],
        [("ai.onnx", 11), ("", 17)],
        [("", 17), ("", 17)],
        [("", 17), ("com.example", 1), ("com.example", 2)],
    ],
)
def test_a_domain_that_is_imported_twice_is_refused(imports: list[tuple[str, int]]) -> None:
    model = onnx_model(RELU, {}, ["N", 2])
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in imports)
    with pytest.raises(Unsupported, match=r"duplicate imports .* in versions \[\d+, \d+\], expected one"):
        read_graph(model)


def _same_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _weight_that_a_node_makes(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["w"], name="other"))


def _value_made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["y"], name="other"))


def _input_that_a_node_makes(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Relu", ["w"], ["x"], name="other"))


@pytest.mark.parametrize(
    "change", [_same_weight, _weight_that_a_node_makes, _value_made_twice, _input_that_a_node_makes]
)
def test_a_name_that_is_defined_twice_is_refused(change: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx_model(ADD, {"w": [1.0, 2.0]}, ["N", 2])
    change(model)
    with pytest.raises(Unsupported, match=r"twice|valid ONNX"):
        read_graph(model)


@pytest.mark.parametrize(
    ("kind", "shape"), [(TensorProto.FLOAT, [3]), (TensorProto.DOUBLE, [2]), (TensorProto.FLOAT, [])]
)
def test_a_default_of_another_shape_or_type_than_its_input_is_refused(kind: int, shape: list[int]) -> None:
    model = onnx_model(ADD, {"w": [1.0, 2.0]}, ["N", 2])
    model.graph.input.append(helper.make_tensor_value_info("w", kind, shape))
    with pytest.raises(Unsupported, match="'w' are of another shape or type than the input of that name"):
        read_graph(model)


@pytest.mark.parametrize(
    ("op", "attribute", "opset", "reason"),
    [
        ("Relu", ("__axis", 1), 17, "__axis"),
        ("MaxPool", ("ceil_mode", 1), 8, "ceil_mode"),
        ("MaxPool", ("dilations", [1]), 8, "dilations"),
        ("AveragePool", ("dilations", [1]), 17, "dilations"),
        ("Flatten", ("axis", 1.0), 17, "axis"),
        ("Relu", ("consumed_inputs", [0]), 7, "consumed_inputs"),
    ],
)
def test_an_attribute_that_the_operator_does_not_have_in_its_version_is_refused(
    op: str, attribute: tuple[str, Any], opset: int, reason: str
) -> None:
    rest = {"kernel_shape": [1]} if op.endswith("Pool") else {}
    model = onnx_model([(op, ["x"], "y", {**rest, attribute[0]: attribute[1]})], {}, [1, 1, 4], opset=opset)
    with pytest.raises(Unsupported, match=rf"'node0' \({op}\): attribute.*{reason}"):
        read_graph(model)


def test_an_attribute_that_is_given_twice_is_refused() -> None:
    model = onnx_model([("Flatten", ["x"], "y", {"axis": 1})], {}, ["N", 2])
    model.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(Unsupported, match=r"'node0' \(Flatten\): attributes \['axis'\] are given twice"):
        read_graph(model)


@pytest.mark.parametrize("place", ["output", "value_info"])
def test_a_stated_shape_that_is_not_what_follows_from_the_input_is_refused(place: str) -> None:
    """Runtimes fold Shape by what a file states."""
    model = onnx_model([("Relu", ["x"], "h", {}), ("Relu", ["h"], "y", {})], {}, ["N", 2])
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2]))
    values = getattr(model.graph, place)
    del values[:]
    values.append(helper.make_tensor_value_info("y" if place == "output" else "h", TensorProto.FLOAT, ["N", 3]))
    stated = r"'node[01]' \(Relu\): value '[hy]' is of shape \(None, 2\), the file states \(None, 3\)"
    with pytest.raises(Unsupported, match=stated):
        read_graph(model)


def test_a_stated_type_that_is_not_what_follows_from_the_input_is_refused() -> None:
    model = onnx_model([("Relu", ["x"], "h", {}), ("Relu", ["h"], "y", {})], {}, [1, 2])
    model.graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.DOUBLE, [1, 2]))
    x = np.ones((1, 2), np.float32)
    with pytest.raises(Unsupported, match=r"fit together"):
        interval_outputs(model, x, x)
