"""Chains for the exact checker, and the same bounds from another hand: fractions, sign by sign."""

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import onnx

import exact
from graphs import Operation, onnx_model

Array = Any


def told(model: onnx.ModelProto, color: str = "grey", **more: str) -> bytes:
    """The file, which says what images it takes."""
    height, width = (size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim[2:])
    onnx.helper.set_model_props(
        model,
        {f"goodcert.{name}": value for name, value in {
            "color": color, "height": str(height), "width": str(width), **more}.items()},
    )  # fmt: skip
    return model.SerializeToString()


def stated(model: bytes, epsilon: str, upper: str = "1", lower: str = "0", **more: str) -> bytes:
    """A certificate, with the decimals as they are given."""
    claims = {"method": "ibp", "norm": "linf", "scope": "upload", **more}
    body = json.dumps({**claims, "model": {"sha256": hashlib.sha256(model).hexdigest()}})
    numbers = f'"epsilon": {epsilon}, "confidence_upper_bound": {upper}, "confidence_lower_bound": {lower}'
    return f"{body[:-1]}, {numbers}}}".encode()


def random_chain(seed: int, opset: int = 17) -> tuple[onnx.ModelProto, list[tuple[Array, Array]]]:
    """A small chain for (N, 1, 6, 7) with every attribute of a convolution at work, and its layers as matrices of
    floats: all but the last followed by a Relu."""
    random = np.random.default_rng(seed)

    def weights(*shape: int) -> Array:
        return (random.standard_normal(shape) * 2.0 ** random.integers(-12, 2)).astype(np.float32)

    strides, dilations = random.integers(1, 3, 2).tolist(), random.integers(1, 3, 2).tolist()
    pads, kernel = random.integers(0, 3, 4).tolist(), random.integers(1, 3, 2).tolist()
    conv, offsets = weights(2, 1, *kernel), weights(2)
    matrix = conv_matrix(conv, (1, 6, 7), strides, dilations, pads)
    places = len(matrix) // 2
    dense, last = (weights(5, len(matrix)), weights(5)), (weights(3, 5), weights(3))
    operations: list[Operation] = [
        ("Conv", ["x", "w1", "b1"], "c", {"strides": strides, "dilations": dilations, "pads": pads}),
        ("Relu", ["c"], "r", {}),
        ("Reshape", ["r", "rows"], "f", {}) if seed % 2 else ("Flatten", ["r"], "f", {}),
        ("MatMul", ["f", "w2"], "m", {}),
        ("Add", ["b2", "m"] if seed % 3 else ["m", "b2"], "a", {}),
        ("Relu", ["a"], "e", {}),
        ("Gemm", ["e", "w3", "b3"], "l", {"transB": 1}),
        ("Softmax", ["l"], "y", {}),
    ]
    constants = {
        "w1": conv, "b1": offsets, "rows": np.array([0, -1]), "w2": dense[0].T, "b2": dense[1],
        "w3": last[0], "b3": last[1],
    }  # fmt: skip
    model = onnx_model(operations, constants, ["N", 1, 6, 7], opset=opset)
    return model, [(matrix, np.repeat(offsets, places)), dense, last]


def conv_matrix(
    weight: Array, shape: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Sequence[int]
) -> Array:
    """The convolution of images (C, H, W) as a matrix."""
    outputs, _, *kernel = weight.shape
    out = [
        (shape[1 + i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1) // strides[i] + 1
        for i in (0, 1)
    ]
    matrix = np.zeros((outputs, *out, *shape), np.float32)
    for i, j, di, dj in np.ndindex(*out, *kernel):
        y, x = i * strides[0] + di * dilations[0] - pads[0], j * strides[1] + dj * dilations[1] - pads[1]
        if 0 <= y < shape[1] and 0 <= x < shape[2]:
            matrix[:, i, j, :, y, x] = weight[:, :, di, dj]
    return matrix.reshape(outputs * out[0] * out[1], -1)


def end(matrix: Array, offsets: Array, plus: Array, minus: Array) -> Array:
    """Where a positive weight takes what it finds in `plus`, a negative one in `minus`."""
    return exact.dot(np.maximum(matrix, 0), plus) + exact.dot(np.minimum(matrix, 0), minus) + offsets


def differences(layers: Sequence[tuple[Array, Array]], pixels: Array, epsilon: Fraction) -> Array:
    """(K, K) upper bounds on f_k - f_l in fractions, for grey pixels of 255."""
    values = [Fraction(int(pixel), 255) for pixel in pixels.ravel()]
    lower = np.array([max(value - epsilon, Fraction(0)) for value in values])
    upper = np.array([min(value + epsilon, Fraction(1)) for value in values])
    rational = [(exact.rational(weight), exact.rational(bias)) for weight, bias in layers]
    for weight, bias in rational[:-1]:
        lower, upper = exact.relu(end(weight, bias, lower, upper), end(weight, bias, upper, lower))
    weight, bias = rational[-1]
    return np.array(
        [end(row - weight, offset - bias, upper, lower) for row, offset in zip(weight, bias, strict=True)]
    )


def confidences(bounds: Array) -> tuple[Any, Any]:
    """The upper and the lower bound that follow, by mpmath at the precision that is set."""

    def exps(sign: int) -> list[list[Any]]:
        return [[mpmath.exp(mpmath.mpf(sign * b.numerator) / b.denominator) for b in row] for row in bounds]

    upper = max(1 / mpmath.fsum(row) for row in exps(-1))
    lower = max(1 / mpmath.fsum(column) for column in zip(*exps(1), strict=True))
    return upper, max(lower, mpmath.mpf(1) / len(bounds))
