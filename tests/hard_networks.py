"""The networks made to hurt in rational arithmetic, with boxes for them."""

import numpy as np

from exact import Array, affine, differences, rational, relu
from goodcert.evaluation.hard_networks import NETS, SIZES, Layers, box, graph

__all__ = ["NETS", "boxes", "exact_margins", "graph"]


def exact_margins(layers: Layers, lower: Array, upper: Array) -> Array:
    ends = rational(lower), rational(upper)
    for weight, bias in layers[:-1]:
        ends = relu(*affine(rational(weight), rational(bias), *ends))
    return differences(rational(layers[-1][0]), rational(layers[-1][1]), *ends)


def boxes(random: np.random.Generator) -> list[tuple[Array, Array]]:
    return [box(random, SIZES[0], width) for width in (0, 1e-6, 0.25)]
