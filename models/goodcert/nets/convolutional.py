"""Convolutional networks: convolutions with ReLU, then dense layers; no pooling and no normalisation, which
keep interval bounds tight."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn


@dataclass(frozen=True)
class Architecture:
    """convolutions: (channels, kernel, stride), each with padding 1. dense: widths before the logits."""

    convolutions: tuple[tuple[int, int, int], ...]
    dense: tuple[int, ...]


ARCHITECTURES: Mapping[str, Architecture] = {
    # S, M and M256, a smaller M, train on a CPU; so does D, deeper, for classifiers that nobody bounds.
    # L and XL are the paper's (Bitterwolf et al., NeurIPS 2020, appendix).
    "S": Architecture(((16, 4, 2), (32, 4, 1)), (100,)),
    "M": Architecture(((32, 3, 1), (32, 4, 2), (64, 3, 1), (64, 4, 2)), (512, 512)),
    "M256": Architecture(((32, 3, 1), (32, 4, 2), (64, 3, 1), (64, 4, 2)), (256,)),
    "D": Architecture(((32, 3, 1), (64, 4, 2), (64, 3, 1), (128, 4, 2), (128, 3, 1), (128, 4, 2)), (256,)),
    "L": Architecture(((64, 3, 1), (64, 3, 1), (128, 3, 2), (128, 3, 1), (128, 3, 1)), (512,)),
    "XL": Architecture(((128, 3, 1), (128, 3, 1), (256, 3, 2), (256, 3, 1), (256, 3, 1)), (512, 512)),
}
"""By the names that recipes use."""


def build(name: str, input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """The network of one architecture, for images (C, H, W), with one logit per class."""
    architecture = ARCHITECTURES[name]
    layers: list[nn.Module] = []
    channels = input_shape[0]
    for width, kernel, stride in architecture.convolutions:
        layers += [nn.Conv2d(channels, width, kernel, stride=stride, padding=1), nn.ReLU()]
        channels = width
    layers.append(nn.Flatten())
    with torch.no_grad():
        features = nn.Sequential(*layers)(torch.zeros(1, *input_shape)).shape[1]
    for inputs, outputs in pairwise((features, *architecture.dense, classes)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
