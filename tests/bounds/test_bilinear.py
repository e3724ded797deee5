"""Products of two branches of a graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodcert.bounds import Unsupported, interval_outputs
from graphs import Operation, onnx_model, run_onnx

BRANCHES: dict[str, list[Operation]] = {
    "matmul": [("Transpose", ["x"], "t", {"perm": [0, 2, 1]}), ("MatMul", ["x", "t"], "y", {})],
    "attention": [
        ("MatMul", ["x", "w"], "k", {}),
        ("Transpose", ["x"], "q", {"perm": [0, 2, 1]}),
        ("MatMul", ["k", "q"], "s", {}),
        ("Softmax", ["s"], "p", {"axis": -1}),
        ("MatMul", ["p", "x"], "y", {}),
    ],
    "gemm": [
        ("Squeeze", ["x", "zero"], "m", {}),
        ("Gemm", ["m", "w"], "k", {}),
        ("Gemm", ["m", "k", "b"], "y", {"transB": 1}),
    ],
    "gemm with a bias that varies": [
        ("Squeeze", ["x", "zero"], "m", {}),
        ("Gemm", ["m", "m"], "k", {"transB": 1}),
        ("Gemm", ["c", "k", "k"], "y", {"transA": 1}),
    ],
}
CONSTANTS = {
    "w": np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32), "zero": np.array([0]),
    "b": np.float32([1, -2, 3]), "c": np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
@given(
    seed=st.integers(0, 2**16), scale=st.sampled_from([1e-20, 1.0, 1e3]), share=st.sampled_from([0.0, 0.01, 1.0])
)
def test_products_of_branches_stay_in_their_bounds(name: str, seed: int, scale: float, share: float) -> None:
    used = {used for _, inputs, _, _ in BRANCHES[name] for used in inputs}
    constants = {key: value for key, value in CONSTANTS.items() if key in used}
    model = onnx_model(BRANCHES[name], constants, [1, 3, 4])
    random = np.random.default_rng(seed)
    x, reach = (random.standard_normal((1, 3, 4)) * scale).astype(np.float32), np.float32(share * scale)
    (lower,), (upper,) = interval_outputs(model, x - reach, x + reach)
    for part in (0.0, *(random.choice([-1, 1], x.shape) for _ in range(3)), random.uniform(-1, 1, x.shape)):
        (computed,) = run_onnx(model, np.clip(x + np.float32(part) * reach, x - reach, x + reach))
        assert (lower <= computed).all()
        assert (computed <= upper).all()
    if share == 0 and scale == 1:
        assert (upper - lower).max() < 1e-3


def test_scaled_products_of_branches_are_refused() -> None:
    model = onnx_model([("Gemm", ["x", "x"], "y", {"alpha": 0.5})], {}, [2, 2])
    x = np.zeros((2, 2), np.float32)
    with pytest.raises(Unsupported, match=r"'node0' \(Gemm\): expected alpha and beta of 1"):
        interval_outputs(model, x, x)


def test_nothing_is_guaranteed_where_a_product_could_overflow() -> None:
    model = onnx_model([("MatMul", ["x", "x"], "y", {})], {}, [2, 2])
    x = np.full((2, 2), 2.0**40, np.float32)
    (lower,), (upper,) = interval_outputs(model, x, x)
    assert np.isneginf(lower).all()
    assert np.isposinf(upper).all()
