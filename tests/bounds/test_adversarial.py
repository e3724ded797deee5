"""Elementwise rules and reductions on values made to hurt: subnormal and huge ones, ends on kinks, bottoms and
jumps, boxes of one point and of one unit in the last place, sums that cancel."""

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from exact import rational
from functions import OPSETS, TRUE
from goodcert.bounds import interval_outputs
from graphs import onnx_model, run_onnx

Array = NDArray[np.float32]
mp = mpmath.mp

MAGNITUDES = np.float32([
    0, 2.0**-149, 2.0**-126, 1e-38, 1e-30, 2.0**-100, 1e-10, 1e-4, 0.25, 0.5, 0.7517915, 1, 1.1924312, 1.2784645,
    1.5, 2.5, 3, 6, 9, 18, 20, 47, 88, 104, 1e4, 1e7, 1e10,
])  # fmt: skip
POSITIVE = {"Log", "Sqrt"}
FRACTION = np.float32(1.7)

# operator, attributes, constants, smallest and largest |x|
UNARY: list[tuple[str, dict[str, Any], dict[str, Any], float, float]] = [
    *((op, {}, {}, 1e-30 if op == "Log" else 0, 47 if op == "Exp" else 1e10) for op in TRUE),
    ("Abs", {}, {}, 0, 1e10),
    ("Neg", {}, {}, 0, 1e10),
    ("Relu", {}, {}, 0, 1e10),
    ("Ceil", {}, {}, 0, 1e10),
    ("Floor", {}, {}, 0, 1e10),
    ("Round", {}, {}, 0, 1e10),
    ("Sign", {}, {}, 0, 1e10),
    ("Elu", {"alpha": 7.0}, {}, 0, 1e10),
    ("Celu", {"alpha": 0.1}, {}, 0, 1e10),
    ("Selu", {"alpha": 0.1, "gamma": 9.0}, {}, 0, 1e10),
    ("Gelu", {"approximate": "tanh"}, {}, 0, 1e10),
    ("Swish", {"alpha": 0.3}, {}, 0, 1e10),
    ("LeakyRelu", {"alpha": 0.01}, {}, 0, 1e10),
    ("LeakyRelu", {"alpha": -0.3}, {}, 0, 1e10),
    ("LeakyRelu", {"alpha": 1.7}, {}, 0, 1e10),
    ("PRelu", {}, {"k": -FRACTION}, 0, 1e10),
    ("PRelu", {}, {"k": np.float32(1e-30)}, 0, 1e10),
    ("ThresholdedRelu", {"alpha": 0.5}, {}, 0, 1e10),
    ("HardSigmoid", {"alpha": -0.3, "beta": 0.7}, {}, 0, 1e10),
    ("HardSigmoid", {"alpha": 1e9, "beta": -1e9}, {}, 0, 1e10),
    ("Clip", {}, {"low": np.float32(-1), "high": np.float32(1e-30)}, 0, 1e10),
    ("Clip", {}, {"low": np.float32(2), "high": np.float32(1)}, 0, 1e10),
    ("Pow", {}, {"k": np.float32(2)}, 0, 1e10),
    ("Pow", {}, {"k": np.float32(3)}, 0, 1e6),
    ("Pow", {}, {"k": np.float32(7)}, 0, 200),
    ("Add", {}, {"k": FRACTION}, 0, 1e10),
    ("Sub", {}, {"k": np.float32(1e10)}, 0, 1e10),
    ("Mul", {}, {"k": np.float32(-1e-30)}, 0, 1e10),
    ("Div", {}, {"k": np.float32(3)}, 0, 1e10),
    ("Reciprocal", {}, {}, 1e-10, 1e10),
]


def model(op: str, attributes: dict[str, Any], constants: dict[str, Any]) -> Any:
    return onnx_model([(op, ["x", *constants], "y", attributes)], constants, ["N"], opset=OPSETS.get(op, 17))


def pairs(op: str, smallest: float, largest: float) -> tuple[Array, Array]:
    """(lower, upper): all boxes between two of the values and their neighbours, where the operator has values."""
    sizes = MAGNITUDES[(smallest <= MAGNITUDES) & (largest >= MAGNITUDES)]
    above = np.nextafter(sizes, np.float32(np.inf))
    ends = np.unique(np.concatenate([sizes, above[above <= largest]]))
    ends = ends if op in POSITIVE else np.unique(np.concatenate([-ends, ends]))
    low, high = (end.ravel() for end in np.meshgrid(ends, ends))
    kept = (low <= high) & ((np.sign(low) == np.sign(high)) if op == "Reciprocal" else True)
    return low[kept], high[kept]


def points(low: Array, high: Array) -> Array:
    """(points, boxes): in every box its ends, what is special in it, and some between."""
    special = np.concatenate([-MAGNITUDES, MAGNITUDES])
    inner = [low / 2 + high / 2, low + np.float32(0.99) * (high - low)]
    return np.stack([np.clip(x, low, high).astype(np.float32) for x in (low, high, *inner, *special)])


@pytest.mark.parametrize(("op", "attributes", "constants", "smallest", "largest"), UNARY)
def test_elementwise_rules_hold_on_every_box(
    op: str, attributes: dict[str, Any], constants: dict[str, Any], smallest: float, largest: float
) -> None:
    low, high = pairs(op, smallest, largest)
    made = model(op, attributes, constants)
    ((lower,), (upper,)) = interval_outputs(made, low, high)
    assert np.isfinite(lower).all()
    assert np.isfinite(upper).all()
    inside = points(low, high)
    (computed,) = run_onnx(made, inside.ravel())
    computed = computed.reshape(inside.shape)
    assert ((lower <= computed) & (computed <= upper)).all()


@pytest.mark.parametrize("op", TRUE)
def test_true_values_lie_in_every_box(op: str) -> None:
    low, high = pairs(op, 1e-30 if op == "Log" else 0, 47 if op == "Exp" else 104)
    ((lower,), (upper,)) = interval_outputs(model(op, {}, {}), low, high)
    with mp.workdps(40):
        true = {float(x): TRUE[op](mp.mpf(float(x))) for x in np.concatenate([low, high])}
        for x in (low, high):
            inside = [mp.mpf(float(a)) <= true[float(v)] <= mp.mpf(float(b)) for a, v, b in zip(lower, x, upper, strict=True)]  # fmt: skip  # noqa: E501
            assert all(inside)


def rows(random: np.random.Generator, kind: str, terms: int) -> Array:
    """(8, terms)"""
    x = random.standard_normal((8, terms)).astype(np.float32)
    if kind == "positive":
        return abs(x)
    if kind == "cancelling":
        half = x[:, : terms // 2] * np.float32(1e6)
        return np.concatenate([half, -half, x[:, : terms - 2 * (terms // 2)]], axis=1)
    if kind == "wide":
        return np.ldexp(x, random.integers(-60, 20, x.shape)).astype(np.float32)
    return x * np.float32(1e-40)  # subnormal


REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare"]
SIZES = [1, 2, 17, 600]


def exact_reduction(op: str, row: Array) -> Fraction:
    """ReduceL2 squared."""
    x = rational(row)
    terms = {"ReduceL1": abs(x), "ReduceL2": x * x, "ReduceSumSquare": x * x}.get(op, x)
    return Fraction(sum(terms, Fraction(0))) / (len(x) if op == "ReduceMean" else 1)


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize("kind", ["positive", "cancelling", "wide", "subnormal"])
@pytest.mark.parametrize("terms", SIZES)
def test_reductions_hold_exactly_and_in_float32(op: str, kind: str, terms: int) -> None:
    x = rows(np.random.default_rng(terms), kind, terms)
    axes = {"axes": np.int64([1])} if op == "ReduceSum" else {}
    attributes = {"keepdims": 0} | ({} if axes else {"axes": [1]})
    made = onnx_model([(op, ["x", *axes], "y", attributes)], axes, [8, terms])
    for reach in (0, 1e-6):
        low, high = x - np.float32(reach), x + np.float32(reach)
        ((lower,), (upper,)) = interval_outputs(made, low, high)
        for point in (low, high, x):
            (computed,) = run_onnx(made, point)
            assert ((lower <= computed) & (computed <= upper)).all()
            for row, a, b in zip(point, rational(lower), rational(upper), strict=True):
                exact = exact_reduction(op, row)
                power = 2 if op == "ReduceL2" else 1
                assert max(a, 0) ** power <= exact if power == 2 else a <= exact
                assert exact <= b**power


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "ReduceLogSumExp"])
@pytest.mark.parametrize("terms", [1, 2, 10, 300])
@pytest.mark.parametrize("scale", [0, 1, 1000])
def test_soft_maxima_hold_in_arbitrary_precision_and_in_float32(op: str, terms: int, scale: float) -> None:
    random = np.random.default_rng(terms)
    x = (random.standard_normal((2, terms)) * scale).astype(np.float32)
    attributes = {"axes": [1], "keepdims": 1} if op.startswith("Reduce") else {"axis": 1}
    made = onnx_model([(op, ["x"], "y", attributes)], {}, [2, terms])
    for reach in (0, 0.5 * scale):
        low, high = x - np.float32(reach), x + np.float32(reach)
        ((lower,), (upper,)) = interval_outputs(made, low, high)
        for point in (low, high, np.where(random.random(x.shape) < 0.5, low, high)):
            (computed,) = run_onnx(made, point)
            assert ((lower <= computed) & (computed <= upper)).all()
            assert true_inside(op, point, lower, upper)


def true_inside(op: str, x: Array, lower: Array, upper: Array) -> bool:
    """A few places of every row."""
    with mp.workdps(40):
        for row, low, high in zip(x, lower, upper, strict=True):
            values = [mp.mpf(float(value)) for value in row]
            whole = max(values) + mp.log(mp.fsum(mp.exp(v - max(values)) for v in values))
            for i in range(min(len(low), 5)):
                true = {"ReduceLogSumExp": whole, "LogSoftmax": values[i] - whole, "Softmax": mp.exp(values[i] - whole)}  # fmt: skip  # noqa: E501
                if not mp.mpf(float(low[i])) <= true[op] <= mp.mpf(float(high[i])):
                    return False
    return True


def test_shares_are_bounded_where_float64_cannot_hold_the_smallest() -> None:
    """The first value may be the largest by 2000 or the smallest by as much."""
    soft = onnx_model([("Softmax", ["x"], "y", {"axis": 1})], {}, [1, 2])
    low, high = np.float32([[-1000, -1000]]), np.float32([[1000, -900]])
    ((lower,), (upper,)) = interval_outputs(soft, low, high)
    assert (lower <= 2.0**-99).all()
    assert ((upper >= 1) & (upper <= 1.0001)).all()


def test_the_sum_of_exponentials_may_err_as_much_as_is_assumed_of_them() -> None:
    """exp(0) may be 1 + 2^-20, twice; the logarithm of 2 may err by 2^-20 of it and 2^-21."""
    made = onnx_model([("ReduceLogSumExp", ["x"], "y", {"axes": [1]})], {}, [1, 2])
    x = np.zeros((1, 2), np.float32)
    ((lower,), (upper,)) = interval_outputs(made, x, x)
    worst = 2.0**-20 + np.log(2) * 2.0**-20 + 2.0**-21
    assert np.log(2) - lower.item() >= worst
    assert upper.item() - np.log(2) >= worst
