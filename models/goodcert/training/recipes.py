"""Recipes: everything that differs between training runs, one frozen record each.

goodcert train mnist-good100 --data DIR
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Recipe:
    """One training run. Times are fractions of the run, so that its length is one number.

    epsilon: the final radius, as a decimal; kappa: the final weight of the outlier loss.
    quantile: Q / 100 of GOOD_Q. out_contrast: by how much the contrast of outliers is varied at most, 1 for
    not at all. held_out: in-distribution images at the end of the training pack that are
    never trained on: the first half to look at while tuning, the second half for the threshold alone.
    out_held_out: the same for the out-distribution, for tuning. precision: of the arithmetic of training; the
    weights are float32 in any case, and bfloat16 is two to three times faster where a processor has it.
    """

    name: str
    method: str
    net: str
    in_pack: str
    out_pack: str
    labels: tuple[str, ...]
    color: str
    size: int
    epsilon: str
    quantile: float = 1.0
    kappa: float = 0.3
    epochs: int = 40
    batch: int = 128
    learning_rate: float = 5e-4
    decay_at: tuple[float, ...] = (0.7, 0.85, 0.95)
    decay_factor: float = 0.2
    kappa_ramp: tuple[float, float] = (0.0, 0.25)
    epsilon_ramp: tuple[float, float] = (0.0, 1 / 3)
    crop_padding: int = 4
    out_contrast: float = 1.0
    held_out: int = 4000
    out_held_out: int = 2000
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0


DIGITS = tuple("0123456789")

_MNIST = Recipe(
    name="mnist-good100",
    method="GOOD_100",
    net="S",
    in_pack="mnist_train",
    out_pack="natural_patches_32",
    labels=DIGITS,
    color="grey",
    size=28,
    epsilon="0.3",
)

_MNIST_M = replace(_MNIST, name="mnist-good100-m", net="M", epochs=60, out_contrast=3.0, precision="bfloat16")

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (_MNIST, _MNIST_M)}
"""By the names that `goodcert train` takes."""
