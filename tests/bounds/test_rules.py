"""Every rule: numbers checked in the head in real arithmetic, then containment of what float32 computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

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
]  # fmt: skip


def transform(
    op: str, attributes: dict[str, Any], constants: tuple[Any, ...], rounding: Any
) -> Callable[..., Any]:
    names = tuple(f"i{i}" for i in range(len(constants)))
    return transform_of(Node(op, names, "y", attributes, "layer"), constants, rounding)


@pytest.mark.parametrize(("op", "attributes", "constants", "boxes", "lower", "upper"), BY_HAND)
def test_rule_gives_the_numbers_computed_by_hand(
    op: str, attributes: Any, constants: Any, boxes: Any, lower: Any, upper: Any
) -> None:
    box = transform(op, attributes, constants, EXACT)(*boxes)
    assert box.lower.tolist() == lower
    assert box.upper.tolist() == upper


@pytest.mark.parametrize(("op", "attributes", "constants", "boxes", "lower", "upper"), BY_HAND)
def test_rounding_widens_every_rule_outward_by_little(
    op: str, attributes: Any, constants: Any, boxes: Any, lower: Any, upper: Any
) -> None:
    box = transform(op, attributes, constants, FLOAT32)(*boxes)
    assert (box.lower <= tensor(lower)).all()
    assert (box.upper >= tensor(upper)).all()
    torch.testing.assert_close(box.lower, tensor(lower), rtol=0, atol=1e-4)
    torch.testing.assert_close(box.upper, tensor(upper), rtol=0, atol=1e-4)


def test_every_rule_is_checked_by_hand() -> None:
    assert {parameter.values[0] for parameter in BY_HAND} == set(RULES)


@pytest.mark.parametrize("op", RULES)
def test_attribute_that_a_rule_does_not_know_is_refused(op: str) -> None:
    with pytest.raises(Unsupported, match=rf"'layer' \({op}\).*'surprise'"):
        transform(op, {"surprise": 1}, (None, tensor([[1.0]])), EXACT)


@pytest.mark.parametrize(
    ("op", "attributes", "constants"),
    [
        ("Sigmoid", {}, (None,)),
        ("Mul", {}, (None, None)),
        ("Div", {}, (tensor([1]), None)),
        ("Div", {}, (None, tensor([1, 0]))),
        ("Conv", {}, (None, None)),
        ("Gemm", {}, (tensor([[1]]), None)),
        ("Gemm", {}, (None, tensor([[1, 2], [3, 4]]), tensor([[1], [2]]))),
        ("Gemm", {}, (None, tensor([[1, 2], [3, 4]]), tensor([[1, 2], [3, 4]]))),
        ("MatMul", {}, (tensor([[1]]), None)),
        ("MatMul", {}, (None, tensor([1, 2]))),
        ("MaxPool", {"kernel_shape": [2], "ceil_mode": 1}, (None,)),
        ("MaxPool", {"kernel_shape": [2], "pads": [1, 0]}, (None,)),
        ("MaxPool", {"kernel_shape": [2], "pads": [2, 2]}, (None,)),
        ("AveragePool", {"kernel_shape": [2], "ceil_mode": 1}, (None,)),
        ("AveragePool", {"kernel_shape": [2], "pads": [0, 1]}, (None,)),
        ("AveragePool", {"kernel_shape": [2], "dilations": [2]}, (None,)),
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
