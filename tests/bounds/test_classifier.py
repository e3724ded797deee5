import math

import pytest
import torch

from goodcert.bounds.classifier import MarginModule, peel_softmax, split
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.bounds.reader import read_graph
from graphs import Operation, onnx_model

FLATTEN: Operation = ("Flatten", ["x"], "f", {})
LAST = {
    "Gemm-transB": (
        [("Gemm", ["f", "w", "b"], "y", {"transB": 1})],
        {"w": [[1.0, 2.0], [3.0, -1.0]], "b": [1.0, 0.0]},
    ),
    "Gemm": ([("Gemm", ["f", "w", "b"], "y", {})], {"w": [[1.0, 3.0], [2.0, -1.0]], "b": [1.0, 0.0]}),
    "Gemm-row-bias": ([("Gemm", ["f", "w", "b"], "y", {})], {"w": [[1.0, 3.0], [2.0, -1.0]], "b": [[1.0, 0.0]]}),
    "MatMul-Add": (
        [("MatMul", ["f", "w"], "m", {}), ("Add", ["b", "m"], "y", {})],
        {"w": [[1.0, 3.0], [2.0, -1.0]], "b": [1.0, 0.0]},
    ),
    "Softmax": (
        [("Gemm", ["f", "w", "b"], "l", {}), ("Softmax", ["l"], "y", {"axis": 1})],
        {"w": [[1.0, 3.0], [2.0, -1.0]], "b": [1.0, 0.0]},
    ),
}  # fmt: skip
LOWER, UPPER = torch.tensor([[[[0.0, 0.25]]]]), torch.tensor([[[[0.5, 0.75]]]])


@pytest.mark.parametrize("last", LAST)
def test_margins_by_hand_for_every_form_of_the_last_layer(last: str) -> None:
    operations, constants = LAST[last]
    module = MarginModule(read_graph(onnx_model([FLATTEN, *operations], constants, ["N", 1, 1, 2])))
    margins = module(LOWER, UPPER)
    # f_0 - f_1 = -2 x_1 + 3 x_2 + 1 in [0.75, 3.25]
    expected = torch.tensor([[[0, 3.25], [-0.75, 0]]]).double()
    assert margins.dtype == torch.float64
    assert (margins >= expected).all()
    torch.testing.assert_close(margins, expected, rtol=0, atol=1e-5)
    upper, lower = confidence_upper_bound(margins.numpy()), confidence_lower_bound(margins.numpy())
    assert upper.item() == pytest.approx(1 / (1 + math.exp(-3.25)), abs=1e-5)
    assert lower.item() == pytest.approx(1 / (1 + math.exp(-0.75)), abs=1e-5)


@pytest.mark.parametrize("bias", [["f", "w", ""], ["f", "w"]])
def test_last_layer_without_a_bias_has_none(bias: list[str]) -> None:
    model = onnx_model([FLATTEN, ("Gemm", bias, "y", {})], {"w": [[1.0, 3.0], [2.0, -1.0]]}, ["N", 1, 1, 2])
    _, weight, zeros = split(read_graph(model))
    assert weight.tolist() == [[1, 2], [3, -1]]
    assert zeros.tolist() == [0, 0]


def test_graph_that_ends_in_no_layer_is_bounded_logit_by_logit() -> None:
    operations: list[Operation] = [FLATTEN, ("Gemm", ["f", "w"], "g", {}), ("Relu", ["g"], "y", {})]
    module = MarginModule(read_graph(onnx_model(operations, {"w": [[1.0, 0.0], [0.0, 1.0]]}, ["N", 1, 1, 2])))
    margins = module(LOWER, UPPER)
    torch.testing.assert_close(margins, torch.tensor([[[0, 0.25], [0.75, 0]]]).double(), rtol=0, atol=1e-5)


def test_graph_without_any_weights_is_bounded() -> None:
    margins = MarginModule(read_graph(onnx_model([("Flatten", ["x"], "y", {})], {}, ["N", 1, 1, 2])))(LOWER, UPPER)
    torch.testing.assert_close(margins, torch.tensor([[[0, 0.25], [0.75, 0]]]).double(), rtol=0, atol=1e-5)


def test_softmax_over_anything_but_the_classes_stays() -> None:
    model = onnx_model([FLATTEN, ("Softmax", ["f"], "y", {"axis": 0})], {}, ["N", 1, 1, 2])
    assert [n.op for n in peel_softmax(read_graph(model)).nodes] == ["Flatten", "Softmax"]


def test_rows_do_not_see_each_other() -> None:
    operations, constants = LAST["Gemm"]
    module = MarginModule(read_graph(onnx_model([FLATTEN, *operations], constants, ["N", 1, 1, 2])))
    together = module(torch.cat([LOWER, LOWER / 2]), torch.cat([UPPER, UPPER]))
    torch.testing.assert_close(together[:1], module(LOWER, UPPER), rtol=1e-12, atol=0)
