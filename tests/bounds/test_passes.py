"""Folding changes nothing but where the rounding happens, and never which network is meant."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph
from goodcert.bounds.outputs import interval_outputs
from goodcert.bounds.reader import read_graph
from graphs import Operation, onnx_model, run_onnx

# Scale 2, mean 3, variance 4 - epsilon, shift 5: y = x + 2.
NORM = {"s": [2.0], "t": [5.0], "mu": [3.0], "va": [3.5]}
EPSILON = {"epsilon": 0.5}


def norm(value: str, output: str) -> Operation:
    return ("BatchNormalization", [value, "s", "t", "mu", "va"], output, EPSILON)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def agrees_with_onnx_runtime(model: Any, x: NDArray[np.float32]) -> bool:
    (computed,), ((lower,), (upper,)) = run_onnx(model, x), interval_outputs(model, x, x)
    close = np.allclose(lower, upper, rtol=1e-3, atol=1e-3)
    return bool(lower.shape == computed.shape and close and np.all((lower <= computed) & (computed <= upper)))


X = np.float32([[1, -2]])


def test_constants_are_computed_once() -> None:
    operations: list[Operation] = [
        ("Constant", [], "a", {"value_floats": [1.0, 2.0, 3.0]}),
        ("Constant", [], "b", {"value_float": 2.0}),
        ("Mul", ["a", "b"], "c", {}),
        ("Sub", ["c", "b"], "d", {}),
        ("Neg", ["d"], "e", {}),
        ("Div", ["e", "b"], "g", {}),
        ("Identity", ["g"], "h", {}),
        ("Add", ["x", "h"], "y", {}),
    ]
    graph = read_graph(onnx_model(operations, {}, [3]))
    assert ops(graph) == ["Add"]
    assert graph.constants["h"].tolist() == [0, -1, -2]


def test_a_transposed_weight_is_folded() -> None:
    operations: list[Operation] = [("Transpose", ["w"], "v", {}), ("MatMul", ["x", "v"], "y", {})]
    graph = read_graph(onnx_model(operations, {"w": [[1.0, 2.0], [3.0, 4.0]]}, ["N", 2]))
    assert ops(graph) == ["MatMul"]
    assert graph.constants["v"].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "operations",
    [
        [("Identity", ["x"], "y", {})],
        [("Identity", ["x"], "a", {}), ("Identity", ["a"], "y", {})],
        [("Identity", ["x"], "a", {}), ("Identity", ["a"], "b", {}), ("Relu", ["b"], "y", {})],
        [("Relu", ["x"], "a", {}), ("Dropout", ["a"], "b", {}), ("Identity", ["b"], "y", {})],
        [("Dropout", ["x", "ratio", "off"], "a", {}), ("Dropout", ["a"], "b", {}), ("Add", ["a", "b"], "y", {})],
    ],
)
def test_identity_and_dropout_vanish_however_they_are_chained(operations: list[Operation]) -> None:
    model = onnx_model(operations, {"ratio": 0.5, "off": np.array(False)}, ["N", 2])
    assert not {"Identity", "Dropout"} & set(ops(read_graph(model)))
    assert agrees_with_onnx_runtime(model, X)


def test_dropout_in_training_mode_is_refused_by_node_and_operator() -> None:
    model = onnx_model(
        [("Dropout", ["x", "ratio", "on"], "y", {})], {"ratio": 0.5, "on": np.array(True)}, ["N", 2]
    )
    with pytest.raises(Unsupported, match=r"'node0' \(Dropout\): in training mode"):
        read_graph(model)


def test_alpha_and_beta_go_into_the_weights() -> None:
    operations: list[Operation] = [("Gemm", ["x", "w", "b"], "y", {"alpha": 2.0, "beta": 0.5})]
    model = onnx_model(operations, {"w": [[1.0], [3.0]], "b": [4.0]}, ["N", 2])
    (gemm,) = read_graph(model).nodes
    constants = read_graph(model).constants
    assert constants[gemm.inputs[1]].tolist() == [[2], [6]]
    assert constants[gemm.inputs[2]].tolist() == [2]
    assert not gemm.attributes
    assert agrees_with_onnx_runtime(model, X)


def test_alpha_leaves_another_layer_with_the_same_weights_alone() -> None:
    operations: list[Operation] = [
        ("Gemm", ["x", "w"], "a", {"alpha": 2.0}),
        ("Gemm", ["a", "w"], "y", {}),
    ]
    assert agrees_with_onnx_runtime(onnx_model(operations, {"w": [[1.0, 2.0], [3.0, 4.0]]}, ["N", 2]), X)


def test_transposed_images_are_refused() -> None:
    with pytest.raises(Unsupported, match=r"'node0' \(Gemm\): transA"):
        read_graph(onnx_model([("Gemm", ["x", "w"], "y", {"transA": 1})], {"w": [[1.0, 2.0]]}, ["N", 2]))


@pytest.mark.parametrize("sum_inputs", [["a", "b"], ["b", "a"]])
def test_matmul_and_its_bias_become_one_layer(sum_inputs: list[str]) -> None:
    operations: list[Operation] = [("MatMul", ["x", "w"], "a", {}), ("Add", sum_inputs, "y", {})]
    model = onnx_model(operations, {"w": [[1.0, 2.0], [3.0, 4.0]], "b": [5.0, 6.0]}, ["N", 2])
    assert [(n.op, n.inputs) for n in read_graph(model).nodes] == [("Gemm", ("x", "w", "b"))]
    assert agrees_with_onnx_runtime(model, X)


def test_matmul_that_is_read_twice_stays_apart_from_its_bias() -> None:
    operations: list[Operation] = [
        ("MatMul", ["x", "w"], "a", {}),
        ("Add", ["a", "b"], "c", {}),
        ("Sub", ["c", "a"], "y", {}),
    ]
    model = onnx_model(operations, {"w": [[1.0, 2.0], [3.0, 4.0]], "b": [5.0, 6.0]}, ["N", 2])
    assert ops(read_graph(model)) == ["MatMul", "Add", "Sub"]


@pytest.mark.parametrize(
    ("operations", "weight", "bias"),
    [
        ([("Gemm", ["x", "w", "b"], "h", {}), norm("h", "y")], [[10.0], [20.0]], [32.0]),
        (
            [("MatMul", ["x", "w"], "a", {}), ("Add", ["a", "b"], "h", {}), norm("h", "y")],
            [[10.0], [20.0]],
            [32.0],
        ),
        ([("Gemm", ["x", "w"], "h", {}), norm("h", "y")], [[10.0], [20.0]], [2.0]),
        ([("Gemm", ["x", "w", "b"], "h", {}), norm("h", "g"), norm("g", "y")], [[10.0], [20.0]], [34.0]),
    ],
)
def test_batch_norm_goes_into_the_layer_before(operations: Any, weight: Any, bias: Any) -> None:
    model = onnx_model(operations, {**NORM, "w": [[10.0], [20.0]], "b": [30.0]}, ["N", 2])
    graph = read_graph(model)
    (layer,) = graph.nodes
    assert graph.constants[layer.inputs[1]].tolist() == weight
    assert graph.constants[layer.inputs[2]].tolist() == bias
    assert agrees_with_onnx_runtime(model, X)


def test_batch_norm_scales_each_channel_of_a_convolution() -> None:
    random = np.random.default_rng(0)
    constants = {
        "w": random.standard_normal((3, 2, 3, 3)).astype(np.float32), "b": [0.5, -0.5, 0.25],
        "s": [1.0, -2.0, 0.0], "t": [0.0, 1.0, 2.0], "mu": [0.1, 0.2, 0.3], "va": [1.0, 2.0, 3.0],
    }  # fmt: skip
    operations: list[Operation] = [("Conv", ["x", "w", "b"], "h", {}), norm("h", "y")]
    model = onnx_model(operations, constants, ["N", 2, 5, 5])
    assert ops(read_graph(model)) == ["Conv"]
    assert agrees_with_onnx_runtime(model, random.random((1, 2, 5, 5), dtype=np.float32))


@pytest.mark.parametrize("shape", [(1, 2), (2, 2), (1, 2, 3), (2, 2, 2), (1, 2, 3, 4), (1, 2, 2, 3, 4)])
def test_batch_norm_apart_from_a_layer_scales_the_channels_at_every_rank(shape: tuple[int, ...]) -> None:
    constants = {"s": [1.0, -2.0], "t": [0.0, 1.0], "mu": [0.1, 0.2], "va": [1.0, 2.0]}
    model = onnx_model([("Relu", ["x"], "h", {}), norm("h", "y")], constants, shape)
    assert agrees_with_onnx_runtime(model, np.random.default_rng(0).random(shape, dtype=np.float32))


def test_batch_norm_of_a_value_that_is_read_twice_leaves_the_layer_alone() -> None:
    operations: list[Operation] = [
        ("Conv", ["x", "w"], "h", {}), norm("h", "n"), ("Add", ["h", "n"], "y", {}),
    ]  # fmt: skip
    model = onnx_model(operations, {**NORM, "w": [[[[2.0]]]]}, ["N", 1, 1, 1])
    assert agrees_with_onnx_runtime(model, np.float32([[[[3]]]]))


def test_batch_norm_in_training_mode_is_refused() -> None:
    operation = ("BatchNormalization", ["x", "s", "t", "mu", "va"], "y", {"training_mode": 1})
    x = np.zeros((2, 1, 1, 1), np.float32)
    with pytest.raises(Unsupported, match=r"'node0' \(BatchNormalization\)"):
        interval_outputs(onnx_model([operation], NORM, ["N", 1, 1, 1]), x, x)


def test_bounds_cover_the_model_as_it_was_written_not_only_as_it_was_folded() -> None:
    constants = {"w": [[1.0]], "b": [1e6], "s": [1.0], "t": [0.0], "mu": [1e6], "va": [1.0]}
    operations: list[Operation] = [("Gemm", ["x", "w", "b"], "h", {}), norm("h", "y")]
    model, x = onnx_model(operations, constants, ["N", 1]), np.float32([[0.3]])
    (computed,), ((lower,), (upper,)) = run_onnx(model, x), interval_outputs(model, x, x)
    assert lower <= computed <= upper


@pytest.mark.parametrize(
    ("first", "taken"),
    [
        (norm("h", "q"), "q/weight"),
        (norm("h", "q"), "q/bias"),
        (("Gemm", ["h", "one"], "q", {"alpha": 2.0}), "q/scaled1"),
    ],
)
def test_folding_does_not_overwrite_a_weight_of_the_same_name(first: Operation, taken: str) -> None:
    operations: list[Operation] = [("Gemm", ["x", "one"], "h", {}), first, ("Gemm", ["q", taken], "y", {})]
    model = onnx_model(operations, {**NORM, "one": [[1.0]], taken: [[7.0]]}, ["N", 1])
    assert agrees_with_onnx_runtime(model, np.float32([[3]]))


def test_padding_by_rule_means_what_onnx_runtime_makes_of_it() -> None:
    def pool(**attributes: Any) -> Any:
        return onnx_model([("MaxPool", ["x"], "y", {"kernel_shape": [2], **attributes})], {}, ["N", 1, 5])

    for rule in ("VALID", "SAME_UPPER", "SAME_LOWER"):
        assert agrees_with_onnx_runtime(pool(auto_pad=rule), np.float32([[[1, 2, 3, 2, 1]]]))


def test_what_no_output_needs_is_dropped() -> None:
    operations: list[Operation] = [("Relu", ["x"], "y", {}), ("Sigmoid", ["x"], "z", {})]
    graph = read_graph(onnx_model(operations, {"w": [1.0]}, ["N", 2]))
    assert ops(graph) == ["Relu"]
    assert not graph.constants


def test_factors_of_a_gemm_whose_bias_varies_are_kept() -> None:
    model = onnx_model([("Gemm", ["x", "w", "x"], "y", {"beta": 0.5})], {"w": [[1.0]]}, ["N", 1])
    (node,) = read_graph(model).nodes
    assert node.attributes["beta"] == 0.5
