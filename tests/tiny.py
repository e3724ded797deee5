"""The smallest run that trains: three steps an epoch, on 8 x 8 images of noise."""

import numpy as np

from goodcert.training.datasets import Datasets, split
from goodcert.training.recipes import Recipe


def tiny_recipe() -> Recipe:
    return Recipe(
        name="tiny", method="GOOD_80", net="S", in_pack="in", out_pack="out", labels=("a", "b", "c"), color="grey",
        size=8, epsilon="0.1", quantile=0.8, epochs=2, batch=5, decay_at=(0.5,), crop_padding=1, held_out=5,
        out_held_out=3,
    )  # fmt: skip


def tiny_data() -> Datasets:
    random = np.random.default_rng(0)
    inside = random.integers(0, 256, (22, 8, 8), dtype=np.uint8)
    outside = random.integers(0, 256, (12, 10, 11, 3), dtype=np.uint8)
    return split(tiny_recipe(), inside, random.integers(0, 3, 22), outside)
