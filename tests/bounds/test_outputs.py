import numpy as np
import pytest

from goodcert.bounds import Unsupported, interval_outputs
from graphs import Operation, onnx_model, run_onnx

LOWER, UPPER = np.float32([[-1, 2]]), np.float32([[1, 3]])


def test_outputs_come_in_the_order_of_the_graph() -> None:
    operations: list[Operation] = [("Relu", ["x"], "r", {}), ("Gemm", ["r", "w"], "g", {})]
    model = onnx_model(operations, {"w": [[1.0], [-1.0]]}, [1, 2], outputs=["g", "r"])
    lowers, uppers = interval_outputs(model, LOWER, UPPER)
    assert lowers[1].tolist() == [[0, 2]]
    assert uppers[1].tolist() == [[1, 3]]
    np.testing.assert_allclose([lowers[0], uppers[0]], [[[-3]], [[-1]]], atol=1e-5)


def test_an_output_that_is_the_input_is_the_box() -> None:
    lowers, uppers = interval_outputs(onnx_model([("Identity", ["x"], "y", {})], {}, [1, 2]), LOWER, UPPER)
    assert (lowers[0].tolist(), uppers[0].tolist()) == (LOWER.tolist(), UPPER.tolist())


def test_an_output_that_does_not_vary_is_itself_or_refused() -> None:
    model = onnx_model([("Relu", ["x"], "y", {})], {"c": [7.0]}, [1, 2], outputs=["y", "c"])
    try:
        lowers, uppers = interval_outputs(model, LOWER, UPPER)
    except Unsupported:
        return
    assert (lowers[1].tolist(), uppers[1].tolist()) == ([7], [7])


@pytest.mark.parametrize(
    "operations",
    [
        [("Conv", ["x", "w", "x"], "y", {})],
        [("BatchNormalization", ["x", "x", "w", "w", "w"], "y", {})],
    ],
)
def test_operands_where_no_rule_expects_them_are_refused_by_name(operations: list[Operation]) -> None:
    with pytest.raises(Unsupported, match="node0"):
        interval_outputs(onnx_model(operations, {"w": [[1.0, 0.0], [0.0, 1.0]]}, [1, 2]), LOWER, UPPER)


def test_a_bias_for_each_row_is_bounded_row_by_row_or_refused() -> None:
    constants = {"w": [[1.0, 0.0], [0.0, 1.0]], "c": [[10.0], [20.0]]}
    model, x = onnx_model([("Gemm", ["x", "w", "c"], "y", {})], constants, [2, 2]), np.zeros((2, 2), np.float32)
    try:
        (lower,), (upper,) = interval_outputs(model, x, x)
    except Unsupported:
        return
    (computed,) = run_onnx(model, x)
    assert np.all((lower <= computed) & (computed <= upper))


@pytest.mark.parametrize(
    ("operations", "constants"),
    [
        ([("Mul", ["x", "c"], "y", {})], {"c": [2.0**100]}),
        ([("Gemm", ["x", "w"], "y", {})], {"w": np.full((2, 2), 2.0**21, np.float32)}),
        ([("Mul", ["x", "c"], "z", {}), ("Div", ["z", "c"], "y", {})], {"c": [2.0**100]}),
    ],
)
def test_nothing_is_guaranteed_where_a_value_could_overflow(
    operations: list[Operation], constants: object
) -> None:
    model = onnx_model(operations, constants, [1, 2])  # type: ignore[arg-type]
    lowers, uppers = interval_outputs(model, LOWER, UPPER)
    assert np.isneginf(lowers[0]).all()
    assert np.isposinf(uppers[0]).all()


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(UPPER, LOWER), (np.float32([[np.nan, 0]]), UPPER), (LOWER[0], UPPER), (LOWER, np.float32([[np.nan, 9]]))],
)
def test_a_box_that_is_none_is_refused(lower: np.ndarray, upper: np.ndarray) -> None:
    with pytest.raises(ValueError, match="lower <= upper"):
        interval_outputs(onnx_model([("Relu", ["x"], "y", {})], {}, [1, 2]), lower, upper)


@pytest.mark.parametrize(
    ("lower", "upper"),
    [(LOWER[0], UPPER[0]), (LOWER.T, UPPER.T), (LOWER.astype(float) + 1e-9, UPPER.astype(float) - 1e-9)],
)
def test_a_box_of_another_shape_or_dtype_than_the_input_is_refused(lower: np.ndarray, upper: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shape|float32"):
        interval_outputs(onnx_model([("Relu", ["x"], "y", {})], {}, [1, 2]), lower, upper)


def test_more_terms_than_the_proof_covers_are_refused_by_node_and_operator() -> None:
    size = 2**20
    model = onnx_model([("MatMul", ["x", "w"], "y", {})], {"w": np.zeros((size, 1), np.float32)}, [1, size])
    x = np.zeros((1, size), np.float32)
    with pytest.raises(Unsupported, match=r"'node0' \(MatMul\)"):
        interval_outputs(model, x, x)


def test_infinite_ends_of_a_box_give_infinite_bounds() -> None:
    model = onnx_model([("Relu", ["x"], "y", {})], {}, [1, 2])
    _, (upper,) = interval_outputs(model, LOWER, np.float32([[np.inf, 3]]))
    assert np.isposinf(upper[0, 0])
