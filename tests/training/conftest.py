import numpy as np
import pytest

from goodcert.training.datasets import Datasets, split
from goodcert.training.recipes import Recipe


@pytest.fixture
def recipe() -> Recipe:
    """Three steps an epoch for two epochs, on 8 x 8 images."""
    return Recipe(
        name="tiny", method="GOOD_80", net="S", in_pack="in", out_pack="out", labels=("a", "b", "c"), color="grey",
        size=8, epsilon="0.1", quantile=0.8, epochs=2, batch=5, decay_at=(0.5,), crop_padding=1, held_out=5,
        out_held_out=3,
    )  # fmt: skip


@pytest.fixture
def data(recipe: Recipe) -> Datasets:
    random = np.random.default_rng(0)
    inside = random.integers(0, 256, (22, 8, 8), dtype=np.uint8)
    outside = random.integers(0, 256, (12, 10, 11, 3), dtype=np.uint8)
    return split(recipe, inside, random.integers(0, 3, 22), outside)
