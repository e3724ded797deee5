import pytest

from goodcert.training.datasets import Datasets
from goodcert.training.recipes import Recipe
from tiny import tiny_data, tiny_recipe


@pytest.fixture
def recipe() -> Recipe:
    """Three steps an epoch for two epochs, on 8 x 8 images."""
    return tiny_recipe()


@pytest.fixture
def data() -> Datasets:
    return tiny_data()
