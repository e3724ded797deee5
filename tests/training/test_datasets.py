from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from goodcert.training.datasets import Datasets, load, split
from goodcert.training.recipes import Recipe


def flat(count: int, *shape: int) -> np.ndarray:
    """Image i shows i everywhere."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8).reshape(-1, *[1] * len(shape)), (count, *shape)).copy()


def numbers(images: object) -> list[int]:
    return images[:, 0, 0, 0].tolist()  # type: ignore[index]


def test_no_image_is_used_twice_and_none_is_lost(recipe: Recipe) -> None:
    data = split(recipe, flat(22, 8, 8), np.arange(22), flat(12, 10, 10, 3))
    assert numbers(data.inside) == list(range(17))
    assert numbers(data.validation) == [17, 18]
    assert numbers(data.threshold) == [19, 20, 21]
    assert numbers(data.outside) == list(range(9))
    assert numbers(data.outside_validation) == [9, 10, 11]


def test_labels_stay_with_their_images(recipe: Recipe) -> None:
    data = split(recipe, flat(22, 8, 8), np.arange(22), flat(12, 10, 10, 3))
    assert data.labels.tolist() == numbers(data.inside)
    assert data.validation_labels.tolist() == numbers(data.validation)


def test_images_are_channels_first_bytes_and_outliers_keep_their_size_for_cropping(data: Datasets) -> None:
    assert data.inside.shape == (17, 1, 8, 8)
    assert data.outside.shape == (9, 1, 10, 11)
    assert data.outside_validation.shape == (3, 1, 8, 8)
    assert str(data.inside.dtype) == "torch.uint8"


def test_colour_is_kept_where_the_recipe_says_so(recipe: Recipe) -> None:
    images = np.random.default_rng(0).integers(0, 256, (22, 8, 8, 3), dtype=np.uint8)
    data = split(replace(recipe, color="rgb"), images, np.arange(22), images)
    assert data.inside.shape == (17, 3, 8, 8)
    assert np.array_equal(data.inside[4, 2].numpy(), images[4, :, :, 2])


@pytest.mark.parametrize("held_out", [22, 23, 40])
def test_holding_out_as_much_as_there_is_is_refused(recipe: Recipe, held_out: int) -> None:
    with pytest.raises(ValueError, match="held"):
        split(replace(recipe, held_out=held_out), flat(22, 8, 8), np.arange(22), flat(12, 10, 10, 3))


def test_packs_are_read_from_their_folder_and_need_labels(recipe: Recipe, tmp_path: Path) -> None:
    np.savez(tmp_path / "out.npz", images=flat(12, 10, 10, 3))
    with pytest.raises(FileNotFoundError, match=r"in\.npz"):
        load(recipe, tmp_path)
    np.savez(tmp_path / "in.npz", images=flat(22, 8, 8))
    with pytest.raises(ValueError, match="no labels"):
        load(recipe, tmp_path)
    np.savez(tmp_path / "in.npz", images=flat(22, 8, 8), labels=np.arange(22))
    assert numbers(load(recipe, tmp_path).threshold) == [19, 20, 21]
