"""Convolutional networks: convolutions with ReLU, then dense layers; no pooling and no normalisation, which
keep interval bounds tight."""

from collections.abc import Callable, Mapping

import torch
from torch import nn


def small(input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """S: conv 16 4x4 stride 2, conv 32 4x4, both with padding 1; dense 100, then one logit per class."""
    convolutions = [
        nn.Conv2d(input_shape[0], 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    ]
    return _with_dense(convolutions, input_shape, [100, classes])


def _with_dense(
    convolutions: list[nn.Module], input_shape: tuple[int, int, int], widths: list[int]
) -> nn.Sequential:
    with torch.no_grad():
        features = nn.Sequential(*convolutions)(torch.zeros(1, *input_shape)).shape[1]
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(features, width), nn.ReLU()]
        features = width
    return nn.Sequential(*convolutions, *layers[:-1])


NETS: Mapping[str, Callable[[tuple[int, int, int], int], nn.Sequential]] = {"S": small}
"""By the names that recipes use."""
