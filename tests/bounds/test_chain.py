"""Chains: every affine map is the matrix of the graph, forward, backward and by rows; the rest is refused."""

from typing import Any

import numpy as np
import pytest
import torch

from exact import conv_matrix
from goodcert.bounds import Unsupported
from goodcert.bounds.chain import Chain, Relu, chain_of
from goodcert.bounds.reader import read_graph
from graphs import Operation, onnx_model, run_onnx

RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def made(operations: list[Operation], constants: dict[str, Any], *shape: int) -> Chain:
    return chain_of(read_graph(onnx_model(operations, constants, ["N", *shape]), fold_weights=False))


def test_a_convolution_is_its_matrix() -> None:
    kernel = weights(3, 2, 3, 3)
    attributes = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    (step,) = made(
        [("Conv", ["x", "w", "b"], "y", attributes)], {"w": kernel, "b": [1.0, 2.0, 3.0]}, 2, 5, 5
    ).steps
    matrix = torch.from_numpy(conv_matrix(kernel.astype(float), 5, 2, 1))
    x, rows = torch.rand(2, 50, dtype=torch.float64), torch.rand(4, 27, dtype=torch.float64)
    torch.testing.assert_close(step.apply(x), x @ matrix.T)
    torch.testing.assert_close(step.apply_absolute(x), x @ matrix.abs().T)
    torch.testing.assert_close(step.back(rows), rows @ matrix)
    assert torch.equal(step.rows(torch.arange(27)), matrix)
    assert step.bias.tolist() == [1.0] * 9 + [2.0] * 9 + [3.0] * 9
    assert (step.terms, step.cost) == (19, 27 * 18)


ONE_STEP: dict[str, tuple[list[Operation], dict[str, Any]]] = {
    "uneven padding": ([("Conv", ["x", "w"], "y", {"pads": [0, 1, 2, 0]})], {"w": weights(2, 2, 3, 2)}),
    "padding by rule": (
        [("Conv", ["x", "w"], "y", {"auto_pad": "SAME_LOWER", "strides": [2, 3]})],
        {"w": weights(2, 2, 4, 2)},
    ),
    "dilations": ([("Conv", ["x", "w"], "y", {"dilations": [2, 1]})], {"w": weights(2, 2, 2, 3)}),
    "dense": (
        [("Flatten", ["x"], "f", {}), ("Gemm", ["f", "w", "b"], "y", {"transB": 1})],
        {"w": weights(3, 70), "b": weights(3)},
    ),
    "product": ([("Reshape", ["x", "s"], "f", {}), ("MatMul", ["f", "w"], "y", {})],
                {"s": np.array([-1, 70]), "w": weights(70, 3)}),
    "norm": (
        [("BatchNormalization", ["x", "s", "t", "m", "v"], "y", {})],
        {"s": weights(2), "t": weights(2), "m": weights(2), "v": [0.5, 2.0]},
    ),
    "sum": ([("Add", ["c", "x"], "y", {})], {"c": weights(2, 1, 1)}),
    "difference": ([("Sub", ["x", "c"], "y", {})], {"c": weights(1, 1, 5, 7)}),
    "difference from": ([("Sub", ["c", "x"], "y", {})], {"c": weights(7)}),
    "product with a number": ([("Mul", ["x", "c"], "y", {})], {"c": weights(1)}),
    "quotient": ([("Div", ["x", "c"], "y", {})], {"c": weights(2, 5, 1)}),
}  # fmt: skip


@pytest.mark.parametrize(("operations", "constants"), list(ONE_STEP.values()), ids=list(ONE_STEP))
def test_a_step_computes_what_the_graph_does_and_its_rows_are_its_transpose(
    operations: list[Operation], constants: dict[str, Any]
) -> None:
    x = weights(3, 2, 5, 7)
    expected = run_onnx(onnx_model(operations, constants, ["N", 2, 5, 7]), x)[0].reshape(3, -1)
    (step,) = made(operations, constants, 2, 5, 7).steps
    y = step.apply(torch.from_numpy(x.reshape(3, -1)).double())
    np.testing.assert_allclose((y + step.bias).numpy(), expected, rtol=1e-5, atol=1e-5)
    one_each = torch.eye(expected.shape[1], dtype=torch.float64)
    matrix = step.back(one_each)
    assert torch.equal(step.rows(torch.arange(len(one_each))), matrix)
    torch.testing.assert_close(torch.from_numpy(x.reshape(3, -1)).double() @ matrix.T, y)
    torch.testing.assert_close(step.apply_absolute(torch.eye(70, dtype=torch.float64)).T, matrix.abs())
    assert (step.size >= step.bias.abs()).all()


def test_reshapes_leave_no_step() -> None:
    chain = made([("Relu", ["x"], "r", {}), ("Flatten", ["r"], "y", {})], {}, 1, 2, 2)
    assert [type(step) for step in chain.steps] == [Relu]
    assert chain.outputs == 4


FLATTEN: Operation = ("Flatten", ["x"], "y", {})
REFUSED: dict[str, tuple[list[Operation], dict[str, Any], str]] = {
    "an operator": ([("MaxPool", ["x"], "p", {"kernel_shape": [2, 2]})], {}, r"'node0' \(MaxPool\): no linear"),
    "a branch": ([("Relu", ["x"], "r", {}), ("Add", ["r", "x"], "s", {})], {}, r"'node1' \(Add\)"),
    "groups": ([("Conv", ["x", "w"], "c", {"group": 2})], {"w": weights(2, 1, 3, 3)}, r"\(Conv\): expected one"),
    "rows of an image": ([("MatMul", ["x", "w"], "m", {})], {"w": weights(8, 3)}, r"\(MatMul\): expected one row"),
    "a quotient by the value": ([("Div", ["c", "x"], "q", {})], {"c": [1.0]}, r"\(Div\): expected one constant"),
    "a divisor of 0": ([("Div", ["x", "c"], "q", {})], {"c": [0.0]}, r"\(Div\): expected a divisor"),
    "a constant an image": ([("Add", ["x", "c"], "s", {})], {"c": weights(3, 2, 8, 8)}, r"\(Add\): expected one"),
}  # fmt: skip


@pytest.mark.parametrize(("operations", "constants", "reason"), list(REFUSED.values()), ids=list(REFUSED))
def test_what_is_no_chain_is_refused_by_node_and_operator(
    operations: list[Operation], constants: dict[str, Any], reason: str
) -> None:
    last = operations[-1][2]
    with pytest.raises(Unsupported, match=reason):
        made([*operations, ("Flatten", [last], "y", {})], constants, 2, 8, 8)


def test_an_output_in_the_middle_is_refused() -> None:
    graph = read_graph(onnx_model([("Relu", ["x"], "r", {}), FLATTEN], {}, ["N", 1, 2, 2], outputs=["r", "y"]))
    with pytest.raises(Unsupported):
        chain_of(graph)


def test_a_layer_wider_than_the_proof_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodcert.bounds.chain.MAX_NUMBERS", 15)
    with pytest.raises(Unsupported, match=r"'node0' \(Relu\): expected at most 15 numbers"):
        made([("Relu", ["x"], "r", {}), ("Flatten", ["r"], "y", {})], {}, 1, 4, 4)
