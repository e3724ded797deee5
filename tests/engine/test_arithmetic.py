"""What the proofs assume of single operations, of this processor through NumPy, PyTorch and ONNX Runtime."""

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime import InferenceSession

from exact import rational
from goodcert.bounds.transcendental import ERF_ABSOLUTE, erf

Operation = Callable[..., NDArray[Any]]
random = np.random.default_rng(0)

TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE}


def onnx_runtime(op: str, returns: int | None = None, **attributes: Any) -> Operation:
    """One node, of the types that it is called with."""

    def run(*operands: NDArray[Any]) -> NDArray[Any]:
        names = [f"x{i}" for i in range(len(operands))]
        inputs = [
            helper.make_tensor_value_info(n, TYPES[x.dtype], x.shape) for n, x in zip(names, operands, strict=True)
        ]
        node = helper.make_node(op, names, ["y"], **attributes)
        outputs = [helper.make_tensor_value_info("y", returns or TYPES[operands[0].dtype], None)]
        graph = helper.make_graph([node], "one", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, dict(zip(names, operands, strict=True)))[0])

    return run


def pytorch(function: Callable[..., torch.Tensor]) -> Operation:
    return lambda *operands: np.asarray(function(*map(torch.from_numpy, operands)).numpy())


# --- float32 ------------------------------------------------------------------------------------------

ARITHMETIC: dict[str, tuple[Operation, Operation, Operation]] = {
    "Add": (np.add, pytorch(torch.add), onnx_runtime("Add")),
    "Sub": (np.subtract, pytorch(torch.sub), onnx_runtime("Sub")),
    "Mul": (np.multiply, pytorch(torch.mul), onnx_runtime("Mul")),
    "Div": (np.divide, pytorch(torch.div), onnx_runtime("Div")),
}
RUNTIMES = ("NumPy", "PyTorch", "ONNX Runtime")


def float32_pairs(count: int = 200_003) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Whole mantissas over sizes so near each other that sums round, and halves of units, which are ties."""
    x, y = (random.standard_normal(count).astype(np.float32) for _ in range(2))
    x *= np.exp2(random.integers(-20, 20, count)).astype(np.float32)
    x[::5], y[::5] = 1 + random.integers(0, 2**23, len(x[::5])) * 2.0**-23, 2.0**-24
    return x, y


@pytest.mark.parametrize(("op", "runtime"), [*product(ARITHMETIC, RUNTIMES)])
def test_one_operation_is_rounded_to_nearest_ties_to_even(op: str, runtime: str) -> None:
    """In float64 a sum, difference, product or quotient of float32 numbers is so close that rounding it again is
    innocent (Figueroa, When is double rounding innocuous?, 1995)."""
    x, y = float32_pairs()
    exactly, run = ARITHMETIC[op][0], ARITHMETIC[op][RUNTIMES.index(runtime)]
    expected = exactly(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    assert np.array_equal(run(x, y), expected)


def test_ties_are_among_the_operands() -> None:
    x, y = (Fraction(float(value[0])) for value in float32_pairs())
    unit = Fraction(2) ** -23
    assert (x + y) % unit == unit / 2


TO_FLOAT32: dict[str, Operation] = {
    "NumPy": lambda x: x.astype(np.float32),
    "PyTorch": pytorch(torch.Tensor.float),
    "ONNX Runtime": onnx_runtime("Cast", TensorProto.FLOAT, to=TensorProto.FLOAT),
}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_float64_becomes_the_nearest_float32(runtime: str) -> None:
    x = np.concatenate([random.standard_normal(1000), 1 + (2 * np.arange(100) + 1) * 2.0**-24])
    got = TO_FLOAT32[runtime](x)
    for value, made in zip(x.tolist(), got, strict=True):
        below, above = np.nextafter(made, np.float32(-np.inf)), np.nextafter(made, np.float32(np.inf))
        off, others = abs(Fraction(float(made)) - Fraction(value)), (Fraction(float(n)) for n in (below, above))
        nearer = [abs(other - Fraction(value)) - off for other in others]
        assert min(nearer) > 0 or (min(nearer) == 0 and made.view(np.uint32) % 2 == 0)


DENSE: dict[str, Operation] = {
    "Mul in NumPy": lambda x, w: x * w[:, 0],
    "Mul in PyTorch": pytorch(lambda x, w: x * w[:, 0]),
    "Mul in ONNX Runtime": lambda x, w: onnx_runtime("Mul")(x, np.ascontiguousarray(w[:, 0])),
    "MatMul in NumPy": np.matmul,
    "MatMul in PyTorch": pytorch(torch.matmul),
    "MatMul in ONNX Runtime": onnx_runtime("MatMul"),
    "Gemm in ONNX Runtime": onnx_runtime("Gemm"),
    "Conv in PyTorch": pytorch(lambda x, w: F.conv2d(x[:, :, None, None], w.T[:, :, None, None])),
    "Conv in ONNX Runtime": lambda x, w: onnx_runtime("Conv")(
        x[:, :, None, None], np.ascontiguousarray(w.T[:, :, None, None])
    ),
}


@pytest.mark.parametrize("kernel", DENSE)
def test_subnormal_operands_are_not_read_as_zero(kernel: str) -> None:
    """2^-140 times 2^60 is 2^-80, of an input or of a weight."""
    small, large = np.float32(2.0**-140), np.float32(2.0**60)
    for x, w in ((small, large), (large, small)):
        got = DENSE[kernel](np.full((19, 1), x), np.full((1, 1), w))
        assert (got == np.float32(2.0**-80)).all()


# --- float64 ------------------------------------------------------------------------------------------

FUNCTIONS: dict[str, tuple[Callable[[Any], Any], dict[str, Operation]]] = {
    "exp": (mpmath.exp, {"NumPy": np.exp, "PyTorch": pytorch(torch.exp), "ONNX Runtime": onnx_runtime("Exp")}),
    "log": (mpmath.log, {"NumPy": np.log, "PyTorch": pytorch(torch.log), "ONNX Runtime": onnx_runtime("Log")}),
    "sqrt": (
        mpmath.sqrt,
        {"NumPy": np.sqrt, "PyTorch": pytorch(torch.sqrt), "ONNX Runtime": onnx_runtime("Sqrt")},
    ),
    "tanh": (mpmath.tanh, {"PyTorch": pytorch(torch.tanh), "ONNX Runtime": onnx_runtime("Tanh")}),
    "rsqrt": (lambda x: 1 / mpmath.sqrt(x), {"PyTorch": pytorch(torch.rsqrt)}),
    "pow": (
        lambda x: x ** mpmath.mpf("2.5"),
        {"PyTorch": pytorch(lambda x: x**2.5), "ONNX Runtime": lambda x: onnx_runtime("Pow")(x, np.array(2.5))},
    ),
}


@pytest.mark.parametrize(
    ("name", "runtime"), [(name, runtime) for name, (_, runs) in FUNCTIONS.items() for runtime in runs]
)
def test_functions_in_float64_err_by_less_than_2_to_the_minus_45(name: str, runtime: str) -> None:
    """Of ends that are float32 numbers: a millionth of what a float32 kernel is allowed, and far below the 2^-41
    that the exponentials of a confidence may lose."""
    x = np.concatenate([np.geomspace(1e-30, 80, 999), np.linspace(0.5, 2, 500)])
    x = x.astype(np.float32).astype(np.float64)
    if name in ("exp", "tanh"):
        x = np.concatenate([x, -x])
    true, runs = FUNCTIONS[name]
    with mpmath.workdps(40):
        for value, made in zip(x.tolist(), runs[runtime](x).tolist(), strict=True):
            exact = true(mpmath.mpf(value))
            assert abs(mpmath.mpf(made) - exact) <= 2.0**-45 * abs(exact), value


def test_the_error_function_of_the_rules_takes_no_more_than_its_part_of_the_margin() -> None:
    """It is float32 where runtimes know no other: 2^-22 absolutely, of an argument that is rounded once."""
    x = np.concatenate([np.linspace(-5, 5, 4001), np.geomspace(1e-30, 1, 500)])
    narrow = onnx_runtime("Erf")(x.astype(np.float32))
    for made in (erf(torch.from_numpy(x)).numpy(), narrow):
        exact = np.array([float(mpmath.erf(value)) for value in x])
        assert abs(made - exact).max() < ERF_ABSOLUTE


PRODUCTS: dict[str, Operation] = {
    "MatMul in NumPy": np.matmul,
    "MatMul in PyTorch": pytorch(torch.matmul),
    "linear in PyTorch": pytorch(lambda x, w: F.linear(x, w.T)),
    "MatMul in ONNX Runtime": onnx_runtime("MatMul"),
    "Gemm in ONNX Runtime": onnx_runtime("Gemm"),
}


@pytest.mark.parametrize("kernel", PRODUCTS)
def test_sums_of_products_in_float64_err_by_gamma_of_their_absolute_values(kernel: str) -> None:
    """Which no kernel keeps that mixes rows and columns first, or shortens operands."""
    terms, unit = 67, Fraction(2) ** -53
    x = random.standard_normal((5, terms)) * np.exp2(random.integers(-30, 30, (5, terms)))
    w = random.standard_normal((terms, 9)) * np.exp2(random.integers(-30, 30, (terms, 9)))
    made = rational(PRODUCTS[kernel](x, w))
    real, size = rational(x) @ rational(w), rational(abs(x)) @ rational(abs(w))
    assert (abs(made - real) <= size * (terms * unit / (1 - terms * unit))).all()
