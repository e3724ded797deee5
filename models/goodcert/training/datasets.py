"""The images of one training run, split so that nothing is used twice."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodcert.data import packs
from goodcert.data.images import centre_crop, grey
from goodcert.training.recipes import Recipe


@dataclass(frozen=True)
class Datasets:
    """uint8 tensors (N, C, H, W) and int64 labels (N,).

    inside, labels: to train on. outside: the out-distribution to train on, at its own size.
    validation, validation_labels, outside_validation: held out, to look at while tuning.
    threshold: held out, for the threshold and nothing else.
    """

    inside: Tensor
    labels: Tensor
    outside: Tensor
    validation: Tensor
    validation_labels: Tensor
    outside_validation: Tensor
    threshold: Tensor


def load(recipe: Recipe, folder: Path) -> Datasets:
    """Read the packs of `recipe` from `folder` and split them."""
    inside, labels = packs.load(folder, recipe.in_pack)
    if labels is None:
        raise ValueError(f"pack {recipe.in_pack} has no labels, which training needs")
    return split(recipe, inside, labels, _outliers(recipe, folder))


def _outliers(recipe: Recipe, folder: Path) -> NDArray[np.uint8]:
    """The out-distribution, or black images where no loss looks at them: the same numbers are drawn, so the same
    network comes out. Raises FileNotFoundError, saying what to provide."""
    if packs.there(folder, recipe.out_pack):
        return packs.load(folder, recipe.out_pack).images
    if recipe.uses_outliers:
        raise FileNotFoundError(
            f"no image pack {folder / recipe.out_pack}.npz, and {recipe.method} trains with outliers: give it "
            f"`images`, uint8 (N, 32, 32, 3), more than {recipe.out_held_out} natural images without the classes "
            "of the in-distribution and made in the same way (docs/data.md)"
        )
    return np.zeros((recipe.out_held_out + 1, recipe.size, recipe.size, 3), np.uint8)


def split(
    recipe: Recipe, inside: NDArray[np.uint8], labels: NDArray[np.int64], outside: NDArray[np.uint8]
) -> Datasets:
    """The last `held_out` images are kept from training, half for validation, half for the threshold."""
    train, half = len(inside) - recipe.held_out, recipe.held_out // 2
    if train < 1 or len(outside) <= recipe.out_held_out:
        raise ValueError(
            f"got {len(inside)} images and {len(outside)} outliers, of which {recipe.held_out} and "
            f"{recipe.out_held_out} are held out; expected some to be left to train on"
        )
    images, targets = _channels_first(inside, recipe), torch.from_numpy(labels)
    out_train = len(outside) - recipe.out_held_out
    return Datasets(
        inside=images[:train],
        labels=targets[:train],
        outside=_channels_first(outside[:out_train], recipe),
        validation=images[train : train + half],
        validation_labels=targets[train : train + half],
        outside_validation=_channels_first(centre_crop(outside[out_train:], recipe.size), recipe),
        threshold=images[train + half :],
    )


def _channels_first(images: NDArray[np.uint8], recipe: Recipe) -> Tensor:
    if recipe.color == "grey":
        return torch.from_numpy(grey(images))[:, None]
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
