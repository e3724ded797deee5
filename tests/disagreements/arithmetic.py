"""Arithmetic that is done in another order, or by another kernel."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from disagreements.tools import ALL, BASIC, F32, REFERENCE, RUNTIME, Disagreement, Kind, chain
from graphs import Operation

FOLD = "no weight under- or overflows"


def _gemm(alpha: float, weight: float) -> Disagreement:
    """The result is made as large again as it was before."""
    w = (np.array([[1.3, 1], [1, 1.7]]) * weight).astype(np.float32)
    up = np.float32(2.0**60)
    operations: list[Operation] = [
        ("Mul", ["x", "up"], "u", {}), ("Flatten", ["u"], "f", {}), ("Gemm", ["f", "w"], "g", {"alpha": alpha}),
        ("Mul", ["g", "up"], "i", {}), ("Mul", ["i", "down"], "h", {}),
    ]  # fmt: skip
    down = np.float32(1 / (float(up) ** 2 * alpha * weight))
    model = chain(operations, {"w": w, "up": up, "down": down}, (1, 1, 2))
    beforehand = (w * np.float32(alpha)).astype(np.float32)
    return Disagreement(
        f"Gemm, alpha of {alpha:.0e}", "alpha times the weights is too small for float32, alpha times the sum is "
        "not.", (RUNTIME, "alpha multiplied into the weights"), model, np.ones((1, 1, 1, 2), np.float32) * 0.75,
        rf"\(Gemm\).*({FOLD}|alpha and beta between)",
        {"alpha multiplied into the weights": lambda x: (x.reshape(1, 2) * up) @ beforehand * up * down},
    )  # fmt: skip


def _scaled(layer: str, op: str) -> Disagreement:
    """2^64 x, times weights of about 2^-95, times 2^-50, times 2^82: about 1.3 for a white pixel."""
    weight = (np.eye(2) * 1.3 * 2.0**-95).astype(np.float32)
    ones, small = np.ones(2, np.float32), np.full(2, 2.0**-50, np.float32)
    constants = {
        "up": 2.0**64, "w": weight.reshape(2, 1, 1, 2) if layer == "Conv" else weight, "again": 2.0**82,
        "s": small.reshape(2, 1, 1), "a": small, "b": 0 * ones, "m": 0 * ones, "v": ones,
    }  # fmt: skip
    norm: Operation = ("BatchNormalization", ["c", "a", "b", "m", "v"], "n", {"epsilon": 0.0})
    operations: list[Operation] = [
        ("Mul", ["x", "up"], "u", {}), *([] if layer == "Conv" else [("Flatten", ["u"], "f", {})]),
        (layer, ["u" if layer == "Conv" else "f", "w"], "c", {}),
        norm if op == "BatchNormalization" else ("Mul", ["c", "s"], "n", {}), ("Mul", ["n", "again"], "h", {}),
    ]  # fmt: skip
    read_here = {name for _, names, _, _ in operations for name in names}
    known = {name: value for name, value in constants.items() if name in read_here}
    model = chain(operations, known, (1, 1, 2))
    white = np.array([[[[1, 0]]]], np.float32)
    does = "Folded into the weights, the factors make them subnormal; as written, nothing is."
    return Disagreement(f"{layer} and {op} that underflow together", does, (RUNTIME, BASIC, ALL), model, white,
                        rf"\({op}\).*{FOLD}")  # fmt: skip


def _pattern(
    name: str, does: str, fused: str, level: str, nodes: Sequence[Operation], constants: Mapping[str, Any], x: F32
) -> Disagreement:
    """Nodes that ONNX Runtime takes for one operator. x: images (N, 1, 1, W)."""
    reason = f"puts {re.escape(fused)} into the graph at level '{level}'"
    return Disagreement(
        name, does, (RUNTIME, ALL), chain(nodes, constants, x.shape[1:]), x.astype(np.float32), reason
    )


def _normalisations() -> tuple[Disagreement, ...]:
    mean = {"axes": [-1], "keepdims": 1}
    gamma, beta = np.array([1.1, 2.2, 0.7, 0.3]), np.array([0.1, 0.2, 0.3, 0.4])
    numbers = {"two": 2.0, "eps": 1e-5, "gamma": gamma}
    deviation: list[Operation] = [
        ("Pow", ["d", "two"], "e", {}), ("ReduceMean", ["e"], "v", mean), ("Add", ["v", "eps"], "w", {}),
        ("Sqrt", ["w"], "s", {}), ("Div", ["d", "s"], "n", {}), ("Mul", ["n", "gamma"], "t", {}),
    ]  # fmt: skip
    layer: list[Operation] = [
        ("Add", ["x", "far"], "q", {}), ("Flatten", ["q"], "f", {}), ("ReduceMean", ["f"], "m", mean),
        ("Sub", ["f", "m"], "d", {}), *deviation, ("Add", ["t", "beta"], "h", {}),
    ]  # fmt: skip
    simplified: list[Operation] = [
        ("Add", ["x", "far"], "q", {}), ("Flatten", ["q"], "d", {}), *deviation,
        ("Sub", ["t", "gamma"], "u", {}), ("Mul", ["u", "large"], "h", {}),
    ]  # fmt: skip
    noise = np.random.default_rng(0).normal(size=(16, 1, 1, 4))
    return (
        _pattern(
            "LayerNormalization in parts", "The values hardly differ from their mean, which the parts take away "
            "first, and the whole last.", "LayerNormalization", "basic", layer,
            {**numbers, "far": 100.0, "beta": beta}, 0.5 + 0.01 * noise,
        ),
        _pattern(
            "Normalization by the root mean square, in parts", "What is left of the result when the scale is "
            "taken away is its last bits.", "SimplifiedLayerNormalization", "extended", simplified,
            {**numbers, "far": 1.0, "large": 1e4}, 0.5 + 0.0001 * noise,
        ),
    )  # fmt: skip


def _gelu() -> Disagreement:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 from -6 to -4.8, where 1 + tanh all but cancels."""
    operations: list[Operation] = [
        ("Mul", ["x", "out"], "z", {}), ("Pow", ["z", "three"], "p", {}), ("Mul", ["p", "c"], "q", {}),
        ("Add", ["z", "q"], "a", {}), ("Mul", ["a", "root"], "b", {}), ("Tanh", ["b"], "t", {}),
        ("Add", ["t", "one"], "u", {}), ("Mul", ["z", "half"], "v", {}), ("Mul", ["v", "u"], "h", {}),
    ]  # fmt: skip
    numbers = {"out": -6, "three": 3, "c": 0.044715, "root": (2 / np.pi) ** 0.5, "one": 1, "half": 0.5}
    return _pattern(
        "Gelu by tanh, in parts", "tanh is near -1, and 1 is added: what is left is the last bits of tanh.",
        "com.microsoft:FastGelu", "extended", operations, numbers, np.linspace(0.8, 1, 64).reshape(1, 1, 1, 64),
    )  # fmt: skip


def _gelu_node() -> Disagreement:
    operations: list[Operation] = [
        ("Mul", ["x", "out"], "z", {}), ("Gelu", ["z"], "h", {"approximate": "tanh"}),
    ]  # fmt: skip
    x = np.linspace(0.8, 1, 64, dtype=np.float32).reshape(1, 1, 1, 64)
    return Disagreement(
        "Gelu by tanh, in one node", "tanh is near -1, and 1 is added: what is left is the last bits of tanh.",
        (RUNTIME, REFERENCE), chain(operations, {"out": -6}, (1, 1, 64), 20), x,
    )  # fmt: skip


def _cancelling() -> Disagreement:
    """Of a half grey image nothing is left, and the scale makes the last bits of that nothing large."""
    random, channels = np.random.default_rng(0), 16
    weight = (random.normal(size=(channels, 1, 2, 2)) * 100).astype(np.float32)
    sums = weight.reshape(channels, -1).sum(1)
    bias = (sums + random.normal(size=channels)).astype(np.float32)
    constants = {
        "w": weight, "b": bias, "m": (bias + sums / 2).astype(np.float32), "a": np.full(channels, 1000.0),
        "shift": np.zeros(channels), "v": np.ones(channels),
    }  # fmt: skip
    operations: list[Operation] = [
        ("Conv", ["x", "w", "b"], "c", {}), ("BatchNormalization", ["c", "a", "shift", "m", "v"], "h", {}),
    ]  # fmt: skip
    return Disagreement(
        "Conv and a BatchNormalization that cancels", "The mean takes nearly all away from what the convolution "
        "gives, and the scale makes the rest large.", (RUNTIME, BASIC),
        chain(operations, constants, (1, 2, 2)), np.full((1, 1, 2, 2), 0.5, np.float32),
    )  # fmt: skip


ARITHMETIC = (
    Kind("Factors that make weights subnormal", "Multiply the factors into the weights in float64, and scale them "
         "to between 2^-126 and 2^100, before export.",
         (_gemm(2.0**-30, 2.0**-115), _gemm(2.0**-100, 2.0**-45), _scaled("Conv", "BatchNormalization"),
          _scaled("Conv", "Mul"), _scaled("MatMul", "BatchNormalization"))),
    Kind("Fusions with an arithmetic of their own", "Export the operator itself.", (*_normalisations(), _gelu())),
    Kind("Bounded all the same", "Nothing needs to be changed: the bounds enclose what each of them computes.",
         (_cancelling(), _gelu_node())),
)  # fmt: skip
