"""Batch normalization in inference: y = scale x + shift, channel by channel."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Node

ROUNDINGS = 12
"""On a path of the deployed norm and in our scale and shift together, as rounding.py counts them."""


class NormStatistics(NamedTuple):
    """float64 (C,). magnitude: |beta| + |mean scale|, the sizes of what `shift` is the sum of."""

    scale: Tensor
    shift: Tensor
    magnitude: Tensor


def norm_statistics(node: Node, constants: Sequence[Tensor]) -> NormStatistics:
    """From the node's gamma, beta, mean and variance. Raises Unsupported for a norm in training mode, per
    pixel, or without finite scales."""
    epsilon = node.attributes.get("epsilon", 1e-5)
    if node.attributes.get("training_mode", 0) or node.attributes.get("spatial", 1) != 1:
        raise Unsupported(f"node {node.name!r} (BatchNormalization): expected inference, and one scale a channel")
    gamma, beta, mean, variance = (constant.double() for constant in constants)
    scale = gamma / torch.sqrt(variance + epsilon)
    shift = beta - mean * scale
    if not (torch.isfinite(scale).all() and torch.isfinite(shift).all()):
        raise Unsupported(f"node {node.name!r} (BatchNormalization): scale or shift is not finite")
    sizes = torch.cat([gamma, beta, mean]).abs()
    # So that no arrangement loses more than 2^-101 to underflow or overflows on the way to a small result.
    if not (_within(variance + epsilon, 2.0**-48, 2.0**64) and _within(sizes, 0, 2.0**100)):
        raise Unsupported(
            f"node {node.name!r} (BatchNormalization): expected variance + epsilon between 2^-48 and 2^64, and "
            "gamma, beta and mean up to 2^100"
        )
    if ((scale != 0) & (scale.abs() < 2.0**-100)).any():  # float32 would round it by more than a share of itself
        raise Unsupported(f"node {node.name!r} (BatchNormalization): a scale below 2^-100 that is not 0")
    return NormStatistics(scale, shift, beta.abs() + (mean * scale).abs())


def _within(values: Tensor, smallest: float, largest: float) -> bool:
    return bool(((values >= smallest) & (values <= largest)).all())
