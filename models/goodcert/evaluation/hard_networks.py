"""Networks made to hurt, of dense layers and ReLU: float32 and real arithmetic part here if anywhere."""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from goodcert.bounds.graph import Graph, Node

Array: TypeAlias = NDArray[np.float32]
Layers: TypeAlias = list[tuple[Array, Array]]
"""(weight (O, I), bias (O,)) of every layer; a ReLU between each two."""

Factory: TypeAlias = Callable[[np.random.Generator], Layers]

SIZES = (12, 16, 10, 4)
WIDE = (25_088, 8, 4)
"""The fan-in of the first dense layer of VGG-16: 512 channels of 7 x 7."""


def monotone(random: np.random.Generator) -> Layers:
    return _positive(random, SIZES)


def _positive(random: np.random.Generator, sizes: tuple[int, ...]) -> Layers:
    return [
        (random.random((o, i), dtype=np.float32), random.random(o, dtype=np.float32)) for i, o in pairwise(sizes)
    ]


def collapsed(random: np.random.Generator) -> Layers:
    """Constant on the box: the first layer is far below zero, all that follows is rounding."""
    layers = monotone(random)
    return [(layers[0][0], layers[0][1] - np.float32(100)), *layers[1:]]


def large_bias(scale: float) -> Factory:
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


def wide(random: np.random.Generator) -> Layers:
    """Sums of 25,088 positive terms, where every rounding goes the same way."""
    return _positive(random, WIDE)


def wide_cancelling(random: np.random.Generator) -> Layers:
    """Sums of 25,088 terms of both signs, of which little is left."""
    return [((w - np.float32(0.5)) * np.float32(2), b) for w, b in _positive(random, WIDE)]


NETS: dict[str, Factory] = {
    "monotone": monotone,
    "collapsed": collapsed,
    "bias 1e6": large_bias(1e6),
    "bias 1e9": large_bias(1e9),
    "bias 1e12": large_bias(1e12),
    "denormal": denormal,
}
WIDE_NETS: dict[str, Factory] = {"fan-in 25,088": wide, "fan-in 25,088, cancelling": wide_cancelling}


def graph(layers: Layers) -> Graph:
    """The network on images (N, 1, 1, features); layer i before its ReLU is the value `g<i>`."""
    nodes = [Node("Flatten", ("x",), "v0")]
    constants: dict[str, torch.Tensor] = {}
    for i, (weight, bias) in enumerate(layers):
        constants |= {f"w{i}": torch.from_numpy(weight), f"b{i}": torch.from_numpy(bias)}
        nodes.append(Node("Gemm", (f"v{i}", f"w{i}", f"b{i}"), f"g{i}", {"transB": 1}, f"layer{i}"))
        nodes.append(Node("Relu", (f"g{i}",), f"v{i + 1}"))
    shape = (None, 1, 1, layers[0][0].shape[1])
    return Graph("x", shape, (nodes[-2].output,), tuple(nodes[:-1]), constants)


def box(random: np.random.Generator, features: int, width: float) -> tuple[Array, Array]:
    """(lower, upper) (features,): inputs from 0 to 1/2, and the same plus `width`."""
    lower = random.random(features, dtype=np.float32) * np.float32(0.5)
    return lower, lower + np.float32(width)
