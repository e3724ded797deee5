"""Every rule: numbers checked in the head in real arithmetic, then containment of what float32 computes."""

from collections.abc import Callable
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from goodcert.bounds.catalogue import DOES, VARIES, catalogue
from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.outputs import interval_outputs
from goodcert.bounds.rounding import EXACT, FLOAT32
from goodcert.bounds.rules import RULES, transform_of
from graphs import Operation, onnx_model, run_onnx


def tensor(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def around(values: Any) -> Interval:
    """values plus or minus 1."""
    return Interval(tensor(values) - 1, tensor(values) + 1)


IMAGE = [[[[1, 2], [3, 4]]]]
FIRST, SECOND = around([1, 2]), Interval(tensor([0, 0]), tensor([1, 5]))

# operator, attributes, constants (None where the input varies), boxes, lower, upper
BY_HAND = [
    pytest.param("Add", {}, (None, tensor([10, -10])), [FIRST], [10, -9], [12, -7], id="Add-constant"),
    pytest.param("Add", {}, (tensor([10, -10]), None), [FIRST], [10, -9], [12, -7], id="Add-to-constant"),
    pytest.param("Add", {}, (None, None), [FIRST, SECOND], [0, 1], [3, 8], id="Add-branches"),
    pytest.param("Sub", {}, (None, tensor([10, -10])), [FIRST], [-10, 11], [-8, 13], id="Sub-constant"),
    pytest.param("Sub", {}, (tensor([10, -10]), None), [FIRST], [8, -13], [10, -11], id="Sub-from-constant"),
    pytest.param("Sub", {}, (None, None), [FIRST, SECOND], [-1, -4], [2, 3], id="Sub-branches"),
    pytest.param("Mul", {}, (None, tensor([2, -3])), [FIRST], [0, -9], [4, -3], id="Mul"),
    pytest.param("Mul", {}, (tensor([0, -3]), None), [FIRST], [0, -9], [0, -3], id="Mul-from-left"),
    pytest.param("Div", {}, (None, tensor([2, -0.5])), [FIRST], [0, -6], [1, -2], id="Div"),
    pytest.param("Relu", {}, (None,), [around([0, -2])], [0, 0], [1, 0], id="Relu"),
    # ones as weights, a bias of 2, [1, 2, 3] +- 1: 6 + 2 +- 3
    pytest.param("Gemm", {"transB": 1}, (None, tensor([[1, 1, 1]]), tensor([2])), [around([[1, 2, 3]])],
                 [[5]], [[11]], id="Gemm-transB"),
    pytest.param("Gemm", {}, (None, tensor([[1, 2], [-1, 0]]), tensor([0, 1])), [around([[1, 2]])],
                 [[-3, 1]], [[1, 5]], id="Gemm"),
    pytest.param("Gemm", {}, (None, tensor([[1, 2], [-1, 0]])), [around([[1, 2]])],
                 [[-3, 0]], [[1, 4]], id="Gemm-without-bias"),
    pytest.param("Gemm", {}, (None, tensor([[1, 2], [-1, 0]]), tensor([[3]])), [around([[1, 2]])],
                 [[0, 3]], [[4, 7]], id="Gemm-bias-for-all"),
    pytest.param("MatMul", {}, (None, tensor([[1, 2], [-1, 0]])), [around([[1, 2]])],
                 [[-3, 0]], [[1, 4]], id="MatMul"),
    pytest.param("Conv", {}, (None, tensor([[[[1, -1], [0, 2]]]]), tensor([1])), [around(IMAGE)],
                 [[[[4]]]], [[[[12]]]], id="Conv"),
    pytest.param("Conv", {"pads": [0, 1, 0, 0]}, (None, tensor([[[[1, 1]]]])), [around(IMAGE)],
                 [[[[0, 1], [2, 5]]]], [[[[2, 5], [4, 9]]]], id="Conv-padded-on-the-left"),
    pytest.param("AveragePool", {"kernel_shape": [2, 2]}, (None,), [around(IMAGE)], [[[[1.5]]]], [[[[3.5]]]],
                 id="AveragePool"),
    pytest.param("AveragePool", {"kernel_shape": [1, 2], "pads": [0, 1, 0, 1]}, (None,), [around(IMAGE)],
                 [[[[0, 0.5, 1], [2, 2.5, 3]]]], [[[[2, 2.5, 3], [4, 4.5, 5]]]], id="AveragePool-without-pads"),
    pytest.param("AveragePool", {"kernel_shape": [1, 2], "pads": [0, 1, 0, 1], "count_include_pad": 1}, (None,),
                 [around(IMAGE)], [[[[0, 0.5, 0.5], [1, 2.5, 1.5]]]], [[[[1, 2.5, 1.5], [2, 4.5, 2.5]]]],
                 id="AveragePool-with-pads"),
    pytest.param("GlobalAveragePool", {}, (None,), [around(IMAGE)], [[[[1.5]]]], [[[[3.5]]]],
                 id="GlobalAveragePool"),
    pytest.param("MaxPool", {"kernel_shape": [2, 1]}, (None,), [around(IMAGE)], [[[[2, 3]]]], [[[[4, 5]]]],
                 id="MaxPool"),
    # gamma 2 and 2, beta 5, mean 3, variance 4 - epsilon: y = x + 2.
    pytest.param("BatchNormalization", {"epsilon": 0.5},
                 (None, tensor([2]), tensor([5]), tensor([3]), tensor([3.5])),
                 [around(IMAGE)], [[[[2, 3], [4, 5]]]], [[[[4, 5], [6, 7]]]], id="BatchNormalization"),
    pytest.param("Gemm", {"alpha": 2.0, "beta": 0.5}, (None, tensor([[1], [3]]), tensor([4])),
                 [around([[1, 2]])], [[8]], [[24]], id="Gemm-scaled"),
    pytest.param("Flatten", {}, (None,), [around(IMAGE)], [[0, 1, 2, 3]], [[2, 3, 4, 5]], id="Flatten"),
    pytest.param("Flatten", {"axis": -1}, (None,), [around(IMAGE)], [[0, 1], [2, 3]], [[2, 3], [4, 5]],
                 id="Flatten-last"),
    pytest.param("Flatten", {"axis": 0}, (None,), [around(IMAGE)], [[0, 1, 2, 3]], [[2, 3, 4, 5]],
                 id="Flatten-all"),
    pytest.param("Reshape", {}, (None, torch.tensor([0, -1])), [around(IMAGE)], [[0, 1, 2, 3]], [[2, 3, 4, 5]],
                 id="Reshape"),
    pytest.param("Gemm", {"alpha": 2.0, "beta": 3.0}, (None, tensor([[1], [1]]), tensor([1])), [around([[1, 2]])],
                 [[5]], [[13]], id="Gemm-scaled"),
    pytest.param("Gemm", {"transA": 1}, (None, tensor([[1], [1]])), [around([[1], [2]])], [[1]], [[5]],
                 id="Gemm-transA"),
    pytest.param("MatMul", {}, (tensor([[1, -1]]), None), [around([[1], [2]])], [[-3]], [[1]], id="MatMul-left"),
    # a kernel of ones spreads each value over two places, which overlap in the middle
    pytest.param("ConvTranspose", {}, (None, tensor([[[1, 1]]]), tensor([1])), [around([[[1, 2]]])],
                 [[[1, 2, 2]]], [[[3, 6, 4]]], id="ConvTranspose"),
    pytest.param("ConvTranspose", {"strides": [2], "pads": [1, 0], "output_padding": [1]},
                 (None, tensor([[[1, 1]]])), [around([[[1, 2]]])],
                 [[[0, 1, 1, 0]]], [[[2, 3, 3, 0]]], id="ConvTranspose-cropped"),
    pytest.param("AveragePool", {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}, (None,),
                 [around([[[1, 3, 5]]])], [[[1, 4]]], [[[3, 6]]], id="AveragePool-ceil"),
    pytest.param("MaxPool", {"kernel_shape": [2], "auto_pad": "SAME_UPPER"}, (None,), [around([[[1, 3, 2]]])],
                 [[[2, 2, 1]]], [[[4, 4, 3]]], id="MaxPool-same"),
    pytest.param("MaxPool", {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}, (None,),
                 [around([[[1, 3, 5]]])], [[[2, 4]]], [[[4, 6]]], id="MaxPool-ceil"),
    pytest.param("GlobalMaxPool", {}, (None,), [around(IMAGE)], [[[[3]]]], [[[[5]]]], id="GlobalMaxPool"),
    pytest.param("ReduceMean", {"axes": [1]}, (None,), [around([[1, 3]])], [[1]], [[3]], id="ReduceMean"),
    pytest.param("ReduceSum", {"keepdims": 0}, (None, torch.tensor([1])), [around([[1, 3]])], [2], [6],
                 id="ReduceSum"),
    pytest.param("ReduceMax", {"axes": [1]}, (None,), [around([[1, 3]])], [[2]], [[4]], id="ReduceMax"),
    pytest.param("ReduceMin", {"axes": [1]}, (None,), [around([[1, 3]])], [[0]], [[2]], id="ReduceMin"),
    pytest.param("ReduceL1", {"axes": [1]}, (None,), [around([[0, -3]])], [[2]], [[5]], id="ReduceL1"),
    pytest.param("ReduceL2", {"axes": [1]}, (None,), [around([[4, -2]])], [[10**0.5]], [[34**0.5]], id="ReduceL2"),
    pytest.param("ReduceSumSquare", {"axes": [1]}, (None,), [around([[0, -3]])], [[4]], [[17]],
                 id="ReduceSumSquare"),
    pytest.param("ReduceLogSum", {"axes": [1]}, (None,), [Interval(tensor([[0.5, 0.5]]), tensor([[1, 0.5]]))],
                 [[0]], [[0.4054651]], id="ReduceLogSum"),
    pytest.param("ReduceLogSumExp", {"axes": [1]}, (None,),
                 [Interval(tensor([[0]]), tensor([[2]]))], [[0]], [[2]], id="ReduceLogSumExp"),
    pytest.param("Mul", {}, (None, None), [around([0, 2]), Interval(tensor([-2, -1]), tensor([3, 0]))],
                 [-3, -3], [3, 0], id="Mul-branches"),
    pytest.param("Div", {}, (None, None), [FIRST, Interval(tensor([1, -2]), tensor([2, -1]))], [0, -3], [2, -0.5],
                 id="Div-branches"),
    pytest.param("Div", {}, (tensor([1, -1]), None), [around([2, 3])], [1 / 3, -0.5], [1, -0.25], id="Div-of"),
    pytest.param("Reciprocal", {}, (None,), [Interval(tensor([1, -4]), tensor([2, -2]))], [0.5, -0.5], [1, -0.25],
                 id="Reciprocal"),
    pytest.param("Sum", {}, (None, None, tensor([1, 1])), [FIRST, SECOND], [1, 2], [4, 9], id="Sum"),
    pytest.param("Mean", {}, (None, None), [FIRST, SECOND], [0, 0.5], [1.5, 4], id="Mean"),
    pytest.param("Max", {}, (None, tensor([1, 2])), [FIRST], [1, 2], [2, 3], id="Max"),
    pytest.param("Min", {}, (None, None), [FIRST, SECOND], [0, 0], [1, 3], id="Min"),
    pytest.param("Where", {}, (torch.tensor([True, False]), None, tensor([7, 7])), [FIRST], [0, 7], [2, 7],
                 id="Where"),
    pytest.param("Abs", {}, (None,), [around([0, -3])], [0, 2], [1, 4], id="Abs"),
    pytest.param("Neg", {}, (None,), [FIRST], [-2, -3], [0, -1], id="Neg"),
    pytest.param("Ceil", {}, (None,), [around([0.5])], [0], [2], id="Ceil"),
    pytest.param("Floor", {}, (None,), [around([0.5])], [-1], [1], id="Floor"),
    pytest.param("Round", {}, (None,), [around([1.5])], [0], [2], id="Round-half-to-even"),
    pytest.param("Sign", {}, (None,), [around([0, 3])], [-1, 1], [1, 1], id="Sign"),
    pytest.param("Clip", {}, (None, tensor(0.5), tensor(2)), [FIRST], [0.5, 1], [2, 2], id="Clip"),
    pytest.param("Clip", {"max": 1.5}, (None,), [FIRST], [0, 1], [1.5, 1.5], id="Clip-from-above"),
    pytest.param("LeakyRelu", {"alpha": 0.5}, (None,), [around([0, -2])], [-0.5, -1.5], [1, -0.5], id="LeakyRelu"),
    pytest.param("LeakyRelu", {"alpha": -0.5}, (None,), [around([0, -2])], [0, 0.5], [1, 1.5],
                 id="LeakyRelu-valley"),
    pytest.param("PRelu", {}, (None, tensor([0.5, -2])), [around([0, 0])], [-0.5, 0], [1, 2], id="PRelu"),
    pytest.param("ThresholdedRelu", {}, (None,), [FIRST], [0, 0], [2, 3], id="ThresholdedRelu"),
    pytest.param("HardSigmoid", {"alpha": 0.25, "beta": 0.5}, (None,), [around([0, 4])], [0.25, 1], [0.75, 1],
                 id="HardSigmoid"),
    pytest.param("HardSwish", {}, (None,), [Interval(tensor([-2, 3]), tensor([0, 4]))], [-0.375, 3], [0, 4],
                 id="HardSwish"),
    *(pytest.param(op, {}, (None,), [Interval(tensor([0]), tensor([0]))], [value], [value], id=op)
      for op, value in {"Sigmoid": 0.5, "Tanh": 0, "Exp": 1, "Sqrt": 0, "Softsign": 0, "Elu": 0, "Selu": 0,
                        "Celu": 0, "Erf": 0, "Gelu": 0, "Mish": 0, "Swish": 0}.items()),
    pytest.param("Log", {}, (None,), [Interval(tensor([1]), tensor([1]))], [0], [0], id="Log"),
    pytest.param("Pow", {}, (None, tensor(2)), [around([0, -3])], [0, 4], [1, 16], id="Pow-even"),
    pytest.param("Pow", {}, (None, tensor(3)), [around([0, -3])], [-1, -64], [1, -8], id="Pow-odd"),
    pytest.param("Pow", {}, (None, tensor(0.5)), [around([1])], [0], [2**0.5], id="Pow-fraction"),
    pytest.param("Softplus", {}, (None,), [Interval(tensor([0]), tensor([0]))], [log(2)], [log(2)], id="Softplus"),
    pytest.param("Softmax", {}, (None,), [Interval(tensor([[0, 0]]), tensor([[0, 0]]))], [[0.5, 0.5]],
                 [[0.5, 0.5]], id="Softmax"),
    pytest.param("LogSoftmax", {}, (None,), [Interval(tensor([[0, 0]]), tensor([[0, 0]]))], [[-log(2)] * 2],
                 [[-log(2)] * 2], id="LogSoftmax"),
    pytest.param("Concat", {"axis": 0}, (None, tensor([7]), None), [around([1]), around([3])], [0, 7, 2],
                 [2, 7, 4], id="Concat"),
    pytest.param("DepthToSpace", {"blocksize": 2}, (None,), [around([[[[1]], [[2]], [[3]], [[4]]]])],
                 [[[[0, 1], [2, 3]]]], [[[[2, 3], [4, 5]]]], id="DepthToSpace"),
    pytest.param("SpaceToDepth", {"blocksize": 2}, (None,), [around(IMAGE)], [[[[0]], [[1]], [[2]], [[3]]]],
                 [[[[2]], [[3]], [[4]], [[5]]]], id="SpaceToDepth"),
    pytest.param("Expand", {}, (None, torch.tensor([2, 1])), [FIRST], [[0, 1]] * 2, [[2, 3]] * 2, id="Expand"),
    pytest.param("Gather", {"axis": 0}, (None, torch.tensor([[-1, 0]])), [FIRST], [[1, 0]], [[3, 2]], id="Gather"),
    pytest.param("Identity", {}, (None,), [FIRST], [0, 1], [2, 3], id="Identity"),
    pytest.param("Pad", {}, (None, torch.tensor([1, 0]), tensor(9)), [FIRST], [9, 0, 1], [9, 2, 3], id="Pad"),
    pytest.param("Pad", {"mode": "reflect"}, (None, torch.tensor([1, 0])), [FIRST], [1, 0, 1], [3, 2, 3],
                 id="Pad-reflect"),
    pytest.param("Slice", {}, (None, *(torch.tensor([i]) for i in (-1, -9, 0, -1))), [FIRST], [1, 0], [3, 2],
                 id="Slice-backward"),
    pytest.param("Split", {"part": 1, "parts": 2}, (None, torch.tensor([1, 1])), [FIRST], [1], [3], id="Split"),
    pytest.param("Squeeze", {}, (None, torch.tensor([0])), [around([[1, 2]])], [0, 1], [2, 3], id="Squeeze"),
    pytest.param("Unsqueeze", {"axes": [0, -1]}, (None,), [FIRST], [[[0], [1]]], [[[2], [3]]], id="Unsqueeze"),
    pytest.param("Tile", {}, (None, torch.tensor([2])), [FIRST], [0, 1] * 2, [2, 3] * 2, id="Tile"),
    pytest.param("Transpose", {}, (None,), [around([[1, 2]])], [[0], [1]], [[2], [3]], id="Transpose"),
    pytest.param("SpaceToDepth", {"blocksize": 2, "mode": "CRD"}, (None,),
                 [around([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]])],
                 [[[[i]] for i in range(8)]], [[[[i + 2]] for i in range(8)]], id="SpaceToDepth-by-channel"),
    # 1 +- 1 by 3 +- 1: 3 +- (1 * 1 + 1 * (3 + 1))
    pytest.param("MatMul", {}, (None, None), [around([[1]]), around([[3]])], [[-2]], [[8]], id="MatMul-branches"),
    pytest.param("Gemm", {"transB": 1}, (None, None, tensor([10])), [around([[1, 0]]), around([[3, 0]])],
                 [[7]], [[19]], id="Gemm-branches"),
    pytest.param("Gemm", {"transA": 1}, (tensor([[2], [-1]]), None, None), [around([[1], [2]]), around([[3]])],
                 [[-1]], [[7]], id="Gemm-of-constant"),
    pytest.param("ReduceProd", {"axes": [1]}, (None,), [around([[0, 3, -2]])], [[-12]], [[12]], id="ReduceProd"),
    # x / (1 + x^2) is largest at 1
    pytest.param("LRN", {"size": 1, "alpha": 1.0, "beta": 1.0}, (None,), [around([[1]])], [[0]], [[0.5]],
    id="LRN"), pytest.param("LRN", {"size": 3, "alpha": 3.0, "beta": 0.5, "bias": 1.0}, (None,),
                 [Interval(tensor([[2, -2]]), tensor([[2, 1]]))], [[2 / 3, -2 / 3]], [[2 / 5**0.5, 1 / 6**0.5]],
                 id="LRN-of-two-channels"),
    # deviations -3 +- 1 and 3 +- 1; their root mean square 3 +- 1, and at least each of them
    pytest.param("LayerNormalization", {"epsilon": 1.0}, (None, tensor([1, 2]), tensor([0, 1])),
                 [around([[0, 6]])], [[-4 / 17**0.5, 1 + 4 / 17**0.5]], [[-2 / 17**0.5, 1 + 8 / 17**0.5]],
                 id="LayerNormalization"),
    pytest.param("InstanceNormalization", {"epsilon": 1.0}, (None, tensor([-1]), tensor([0])),
                 [around([[[0, 6]]])], [[[2 / 17**0.5, -4 / 17**0.5]]], [[[4 / 17**0.5, -2 / 17**0.5]]],
                 id="InstanceNormalization"),
    pytest.param("GroupNormalization", {"epsilon": 1.0, "num_groups": 1}, (None, tensor([1, 2]), tensor([0, 1])),
                 [around([[[0], [6]]])], [[[-4 / 17**0.5], [1 + 4 / 17**0.5]]],
                 [[[-2 / 17**0.5], [1 + 8 / 17**0.5]]], id="GroupNormalization"),
    pytest.param("RMSNormalization", {"epsilon": 1.0}, (None, tensor([2])), [around([[3]])], [[4 / 17**0.5]],
                 [[8 / 17**0.5]], id="RMSNormalization"),
    pytest.param("Resize", {"mode": "linear"}, (None, None, tensor([2])), [FIRST], [0, 0.25, 0.75, 1],
                 [2, 2.25, 2.75, 3], id="Resize-linear"),
    pytest.param("Resize", {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
                 (None, None, None, torch.tensor([3])), [FIRST], [0, 0.5, 1], [2, 2.5, 3], id="Resize-corners"),
    pytest.param("Resize", {}, (None, None, None, torch.tensor([3])), [FIRST], [0, 0, 1], [2, 2, 3],
                 id="Resize-nearest"),
    pytest.param("Resize", {}, (None, tensor([2])), [FIRST], [0, 0, 1, 1], [2, 2, 3, 3], id="Resize-of-opset-10"),
    pytest.param("Upsample", {"scales": [2.0]}, (None,), [FIRST], [0, 0, 1, 1], [2, 2, 3, 3], id="Upsample"),
]  # fmt: skip


def transform(
    op: str, attributes: dict[str, Any], constants: tuple[Any, ...], rounding: Any
) -> Callable[..., Any]:
    names = tuple("" if op == "Resize" and i and c is None else f"i{i}" for i, c in enumerate(constants))
    return transform_of(Node(op, names, "y", attributes, "layer"), constants, rounding)


@pytest.mark.parametrize(("op", "attributes", "constants", "boxes", "lower", "upper"), BY_HAND)
def test_rule_gives_the_numbers_computed_by_hand(
    op: str, attributes: Any, constants: Any, boxes: Any, lower: Any, upper: Any
) -> None:
    box = transform(op, attributes, constants, EXACT)(*boxes)
    assert torch.equal(box.lower, tensor(lower))
    assert torch.equal(box.upper, tensor(upper))


@pytest.mark.parametrize(("op", "attributes", "constants", "boxes", "lower", "upper"), BY_HAND)
def test_rounding_widens_every_rule_outward_by_little(
    op: str, attributes: Any, constants: Any, boxes: Any, lower: Any, upper: Any
) -> None:
    box = transform(op, attributes, constants, FLOAT32)(*boxes)
    assert (box.lower <= tensor(lower)).all()
    assert (box.upper >= tensor(upper)).all()
    torch.testing.assert_close(box.lower, tensor(lower), rtol=0, atol=1e-4)
    torch.testing.assert_close(box.upper, tensor(upper), rtol=0, atol=1e-4)


def test_roots_are_those_of_ieee_on_every_processor() -> None:
    """Of whole numbers whose squares float32 sums without rounding."""
    pairs = torch.randint(1, 2800, (20_000, 2), generator=torch.Generator().manual_seed(0)).float()
    (end, _) = transform("ReduceL2", {"axes": [1], "keepdims": 0}, (None,), EXACT)(Interval(pairs, pairs))
    expected = np.sqrt((pairs.double() ** 2).sum(1).numpy()).astype(np.float32)
    np.testing.assert_array_equal(end.numpy(), expected)


@pytest.mark.parametrize(("op", "operands"), [("Div", 2), ("Reciprocal", 1)])
def test_quotients_may_be_off_by_a_unit_in_the_last_place(op: str, operands: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values = [torch.rand(20_000, generator=generator) + 0.5 for _ in range(operands)]
    box = transform(op, {}, (None,) * operands, FLOAT32)(*(Interval(value, value) for value in values))
    exact = values[0].double() / values[1].double() if op == "Div" else 1 / values[0].double()
    rounded = exact.float()
    for deployed in (rounded, *(torch.nextafter(rounded, torch.full_like(rounded, end)) for end in (0, 9))):
        assert (box.lower <= deployed).all()
        assert (deployed <= box.upper).all()


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pool_without_image_axes_is_refused(op: str) -> None:
    with pytest.raises(Unsupported, match=rf"'layer' \({op}\)"):
        transform(op, {}, (None,), EXACT)(around([[1, 2]]))


def test_every_rule_is_checked_by_hand() -> None:
    assert {parameter.values[0] for parameter in BY_HAND} == set(RULES)


@pytest.mark.parametrize("op", RULES)
def test_attribute_that_a_rule_does_not_know_is_refused(op: str) -> None:
    with pytest.raises(Unsupported, match=rf"'layer' \({op}\).*'surprise'"):
        transform(op, {"surprise": 1}, (None, tensor([[1.0]])), EXACT)


@pytest.mark.parametrize(
    ("op", "attributes", "constants"),
    [
        ("Cos", {}, (None,)),
        ("Conv", {}, (None, None)),
        ("Conv", {"kernel_shape": [2, 2]}, (None, tensor([[[[1]]]]))),
        ("Gemm", {"alpha": 2.0}, (tensor([[1]]), None)),
        ("LRN", {"size": 1, "alpha": -1.0}, (None,)),
        ("LRN", {"size": 1, "bias": 0.0}, (None,)),
        ("LayerNormalization", {"epsilon": 0.0}, (None, tensor([1]))),
        ("LayerNormalization", {"stash_type": 10}, (None, tensor([1]))),
        ("Resize", {"mode": "cubic"}, (None, None, tensor([2]))),
        ("Resize", {"antialias": 1, "mode": "linear"}, (None, None, tensor([2]))),
        ("Resize", {"coordinate_transformation_mode": "tf_crop_and_resize"}, (None, None, tensor([2]))),
        ("Resize", {"keep_aspect_ratio_policy": "not_larger"}, (None, None, None, torch.tensor([2]))),
        ("Resize", {"exclude_outside": 1}, (None, None, tensor([2]))),
        ("Resize", {}, (None, tensor([0.5]))),
        ("Upsample", {"mode": "cubic", "scales": [2.0]}, (None,)),
        ("Gemm", {}, (None, tensor([[1, 2], [3, 4]]), tensor([1, 2, 3]))),
        ("Gemm", {"alpha": 1e-38}, (None, tensor([[1e-3]]))),
        ("BatchNormalization", {"epsilon": 0.0}, (None, *(tensor([v]) for v in (1e-25, 0, 0, 1e-30)))),
        ("BatchNormalization", {}, (None, *(tensor([v]) for v in (1e30, 0, 0, 1e30)))),
        ("BatchNormalization", {}, (None, *(tensor([v]) for v in (1e-10, 0, 1e35, 1)))),
        ("MaxPool", {"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_UPPER"}, (None,)),
        ("PRelu", {}, (None, None)),
        ("Pow", {}, (None, tensor([2, 3]))),
        ("Pow", {}, (None, tensor(-1))),
        ("Clip", {}, (None, None)),
        ("ThresholdedRelu", {"alpha": -1.0}, (None,)),
        ("Swish", {"alpha": -1.0}, (None,)),
        ("Elu", {"alpha": -1.0}, (None,)),
        ("Gather", {}, (tensor([1]), None)),
        ("Pad", {"mode": "unheard"}, (None, torch.tensor([1, 1]))),
        ("Where", {}, (None, tensor([1]), tensor([2]))),
    ],
)
def test_what_a_rule_would_get_wrong_is_refused_by_node_and_operator(
    op: str, attributes: Any, constants: Any
) -> None:
    with pytest.raises(Unsupported, match=rf"'layer' \({op}\)"):
        transform(op, attributes, constants, EXACT)


# --- against ONNX Runtime -----------------------------------------------------------------------------

LAYERS = [
    ("Conv", (3, 2, 3, 3), {}),
    ("Conv", (3, 2, 3, 3), {"strides": [2, 1], "pads": [1, 0, 2, 3]}),
    ("Conv", (3, 2, 2, 3), {"dilations": [2, 3], "pads": [1, 1, 1, 1]}),
    ("Conv", (4, 1, 3, 3), {"group": 2, "pads": [0, 2, 1, 0]}),
    ("AveragePool", None, {"kernel_shape": [2, 3]}),
    ("AveragePool", None, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("AveragePool", None, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", None, {"kernel_shape": [3, 2], "auto_pad": "VALID"}),
    ("MaxPool", None, {"kernel_shape": [2, 3]}),
    ("MaxPool", None, {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1]}),
    ("MaxPool", None, {"kernel_shape": [2, 2], "dilations": [3, 2]}),
    ("GlobalAveragePool", None, {}),
]


@pytest.mark.parametrize(("op", "weight", "attributes"), LAYERS)
@pytest.mark.parametrize("scale", [1.0, 1e-38, 1e6])
def test_layer_bounds_contain_what_onnx_runtime_computes(
    op: str, weight: tuple[int, ...] | None, attributes: dict[str, Any], scale: float
) -> None:
    random = np.random.default_rng(1)
    constants = {} if weight is None else {"w": random.standard_normal(weight).astype(np.float32)}
    model = onnx_model([(op, ["x", *constants], "y", attributes)], constants, [1, 2, 7, 8])
    x = (random.standard_normal((1, 2, 7, 8)) * scale).astype(np.float32)
    (computed,), ((lower,), (upper,)) = run_onnx(model, x), interval_outputs(model, x, x)
    assert lower.shape == computed.shape
    assert (lower <= computed).all()
    assert (computed <= upper).all()
    np.testing.assert_allclose(upper - lower, 0, atol=1e-4 * scale + 1e-29)

    reach = np.float32(0.25 * scale)
    (lower,), (upper,) = interval_outputs(model, x - reach, x + reach)
    for share in (-1, -0.5, 0.9, 1):
        (computed,) = run_onnx(model, np.clip(x + share * reach, x - reach, x + reach))
        assert (lower <= computed).all()
        assert (computed <= upper).all()


floats = st.floats(width=32, min_value=-(2.0**40), max_value=2.0**40)
nonzero = floats.filter(lambda value: abs(value) > 2.0**-20)
ELEMENTWISE: list[Operation] = [
    ("Add", ["x", "k"], "a", {}),
    ("Sub", ["k", "a"], "b", {}),
    ("Mul", ["b", "d"], "m", {}),
    ("Div", ["m", "d"], "q", {}),
    ("Sub", ["q", "x"], "s", {}),
    ("Relu", ["s"], "y", {}),
]


@given(
    x=st.lists(floats, min_size=3, max_size=3), reach=floats.map(abs), k=floats, d=nonzero, share=st.floats(-1, 1)
)
def test_a_chain_of_elementwise_operators_stays_in_its_bounds(
    x: list[float], reach: float, k: float, d: float, share: float
) -> None:
    model = onnx_model(ELEMENTWISE, {"k": [k], "d": [d]}, [3], outputs=["a", "b", "m", "q", "s", "y"])
    centre, radius = np.float32(x), np.float32(reach)
    low, high = centre - radius, centre + radius
    lowers, uppers = interval_outputs(model, low, high)
    point = np.clip(centre + np.float32(share) * radius, low, high)
    for computed, lower, upper in zip(run_onnx(model, point), lowers, uppers, strict=True):
        assert (lower <= computed).all()
        assert (computed <= upper).all()


def test_every_rule_has_its_line_in_the_catalogue() -> None:
    assert {row.operator for row in catalogue()} == set(RULES) == set(DOES)
    assert {row.varies for row in catalogue()} == set(VARIES.values())


def test_a_share_of_softmax_whose_terms_float64_loses_can_be_anything() -> None:
    """Both shares are e^-745 of the largest possible logit: their ratio, 0.29, is not lost."""
    box = Interval(tensor([[-745, -746]]), tensor([[0, -745.9]]))
    share = torch.softmax(torch.tensor([-745.0, -745.9]), dim=0)[1]
    assert transform("Softmax", {}, (None,), FLOAT32)(box).upper[0, 1] >= share
    assert transform("LogSoftmax", {}, (None,), FLOAT32)(box).upper[0, 1] >= share.log()


def test_a_softmax_of_wide_boxes_is_anything_and_no_nan() -> None:
    box = transform("Softmax", {}, (None,), FLOAT32)(Interval(tensor([[-1e4, -1e4]]), tensor([[1e4, -1e3]])))
    torch.testing.assert_close(box.upper, tensor([[1, 1]]), rtol=0, atol=1e-4)


@given(
    factors=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=9),
    exponent=st.integers(-60, 6),
    reach=st.sampled_from([0.0, 0.125, 3.0]),
    share=st.floats(-1, 1),
)
def test_products_of_many_stay_in_their_bounds(
    factors: list[float], exponent: int, reach: float, share: float
) -> None:
    """Halves of the factors are scaled against each other, so that orders differ in what underflows."""
    scales = np.where(np.arange(len(factors)) % 2, 2.0**exponent, 2.0**-exponent).clip(max=2.0**12)
    centre, radius = np.float32([factors * scales]), np.float32(reach * scales)
    low, high = centre - radius, centre + radius
    model = onnx_model([("ReduceProd", ["x"], "y", {"axes": [1]})], {}, [1, len(factors)])
    (lower,), (upper,) = interval_outputs(model, low, high)
    point = np.clip(centre + np.float32(share) * radius, low, high).astype(np.float32)
    exact = np.prod(point.astype(np.longdouble))
    backwards = np.prod(point[:, ::-1])
    for value in (*run_onnx(model, point), backwards, exact):
        assert (lower <= value).all()
        assert (value <= upper).all()
