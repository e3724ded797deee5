"""The architectures are those of the paper."""

import pytest
import torch
from torch import nn

from goodcert.bounds.sequential import graph_of
from goodcert.nets import ARCHITECTURES, build

# Weights of the layers, on images (3, 32, 32) with 10 classes, and the strides of the convolutions.
LAYERS: dict[str, tuple[list[tuple[int, ...]], list[int]]] = {
    "M": (
        [(32, 3, 3, 3), (32, 32, 4, 4), (64, 32, 3, 3), (64, 64, 4, 4), (512, 64 * 8 * 8), (512, 512), (10, 512)],
        [1, 2, 1, 2],
    ),
    "L": (
        [(64, 3, 3, 3), (64, 64, 3, 3), (128, 64, 3, 3), (128, 128, 3, 3), (128, 128, 3, 3),
         (512, 128 * 16 * 16), (10, 512)],
        [1, 1, 2, 1, 1],
    ),
    "XL": (
        [(128, 3, 3, 3), (128, 128, 3, 3), (256, 128, 3, 3), (256, 256, 3, 3), (256, 256, 3, 3),
         (512, 256 * 16 * 16), (512, 512), (10, 512)],
        [1, 1, 2, 1, 1],
    ),
}  # fmt: skip


def test_s_has_the_layers_that_its_name_stands_for() -> None:
    net = build("S", (1, 28, 28), 10)
    shapes = [tuple(p.shape) for p in net.parameters() if p.ndim > 1]
    assert shapes == [(16, 1, 4, 4), (32, 16, 4, 4), (100, 32 * 13 * 13), (10, 100)]


@pytest.mark.parametrize("name", LAYERS)
def test_the_larger_ones_have_theirs(name: str) -> None:
    net, (shapes, strides) = build(name, (3, 32, 32), 10), LAYERS[name]
    assert [tuple(p.shape) for p in net.parameters() if p.ndim > 1] == shapes
    convolutions = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    assert [layer.stride for layer in convolutions] == [(stride, stride) for stride in strides]
    assert all(layer.padding == (1, 1) for layer in convolutions)
    assert [type(layer) for layer in net].count(nn.ReLU) == len(shapes) - 1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_one_logit_per_class_and_can_be_bounded(name: str) -> None:
    net = build(name, (3, 32, 32), 7)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert graph_of(net, (3, 32, 32)).nodes[-1].op == "Gemm"
