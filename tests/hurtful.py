"""Networks made to hurt, of dense layers and ReLU: float32 and real arithmetic part here if anywhere."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from exact import Array, affine, differences, rational, relu
from goodcert.bounds.graph import Graph
from goodcert.bounds.reader import read_graph
from graphs import Operation, onnx_model

Layers = list[tuple[Array, Array]]
SIZES = (12, 16, 10, 4)


def monotone(random: np.random.Generator) -> Layers:
    return [
        (random.random((o, i), dtype=np.float32), random.random(o, dtype=np.float32)) for i, o in pairwise(SIZES)
    ]


def collapsed(random: np.random.Generator) -> Layers:
    """Constant on the box: the first layer is far below zero, all that follows is rounding."""
    layers = monotone(random)
    return [(layers[0][0], layers[0][1] - np.float32(100)), *layers[1:]]


def large_bias(scale: float) -> Callable[[np.random.Generator], Layers]:
    def layers(random: np.random.Generator) -> Layers:
        made = [
            (random.standard_normal(w.shape).astype(np.float32), b + np.float32(scale))
            for w, b in monotone(random)
        ]
        return [*made[:-1], (made[-1][0], made[-1][1] - np.float32(scale))]

    return layers


def denormal(random: np.random.Generator) -> Layers:
    layers = [((w - np.float32(0.5)) * np.float32(1e-19), b * np.float32(1e-39)) for w, b in monotone(random)]
    return [(layers[0][0] * np.float32(1e-20), layers[0][1]), *layers[1:]]


NETS = {
    "monotone": monotone,
    "collapsed": collapsed,
    "bias 1e6": large_bias(1e6),
    "bias 1e9": large_bias(1e9),
    "bias 1e12": large_bias(1e12),
    "denormal": denormal,
}


def graph(layers: Layers) -> Graph:
    operations: list[Operation] = [("Flatten", ["x"], "v0", {})]
    constants: dict[str, Array] = {}
    for i, (weight, bias) in enumerate(layers):
        constants |= {f"w{i}": weight, f"b{i}": bias}
        operations.append(("Gemm", [f"v{i}", f"w{i}", f"b{i}"], f"g{i}", {"transB": 1}))
        operations.append(("Relu", [f"g{i}"], f"v{i + 1}", {}))
    return read_graph(
        onnx_model(operations[:-1], constants, ["N", 1, 1, layers[0][0].shape[1]], [f"g{len(layers) - 1}"])
    )


def exact_margins(layers: Layers, lower: Array, upper: Array) -> Array:
    box = rational(lower), rational(upper)
    for weight, bias in layers[:-1]:
        box = relu(*affine(rational(weight), rational(bias), *box))
    return differences(rational(layers[-1][0]), rational(layers[-1][1]), *box)


def boxes(random: np.random.Generator) -> list[tuple[Array, Array]]:
    lower = random.random(SIZES[0], dtype=np.float32) * np.float32(0.5)
    return [(lower, lower + np.float32(width)) for width in (0, 1e-6, 0.25)]
