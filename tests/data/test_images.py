"""What is done to images before they meet a network."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from goodcert.data import packs
from goodcert.data.images import (
    auto_augment,
    centre_crop,
    grey,
    random_contrast,
    random_crop,
    random_flip,
    uniform_noise,
)


def test_grey_weighs_the_channels_as_luma_and_rounds() -> None:
    pixels = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 10, 10]]]], np.uint8)
    assert grey(pixels).tolist() == [[[76, 150, 29, 10]]]


def test_the_centre_crop_takes_the_middle() -> None:
    assert centre_crop(np.arange(16, dtype=np.uint8).reshape(1, 4, 4), 2).tolist() == [[[5, 6], [9, 10]]]


def test_a_random_crop_is_a_window_of_the_padded_image() -> None:
    image = torch.arange(1, 17, dtype=torch.uint8).reshape(1, 1, 4, 4)
    padded = torch.nn.functional.pad(image, [1] * 4)[0, 0]
    windows = [padded[i : i + 4, j : j + 4] for i in range(3) for j in range(3)]
    seen = {
        next(k for k, window in enumerate(windows) if torch.equal(window, crop[0]))
        for crop in random_crop(image.expand(200, 1, 4, 4), 4, 1, torch.Generator().manual_seed(0))
    }
    assert seen == set(range(9))


def test_noise_is_the_same_for_the_same_seed() -> None:
    assert np.array_equal(uniform_noise(3, (2, 2), 5), uniform_noise(3, (2, 2), 5))


def test_a_pack_of_jpeg_files_is_decoded_in_order(tmp_path: Path) -> None:
    files = []
    for level in (10, 200):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (level, level, level)).save(file, "JPEG")
        files.append(np.frombuffer(file.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(tmp_path / "two.npz", jpeg=np.concatenate(files), offsets=offsets, labels=np.array([1, 0]))
    pack = packs.load(tmp_path, "two")
    assert pack.images.shape == (2, 8, 8, 3)
    assert pack.images[:, 0, 0, 0].tolist() == [10, 200]
    assert pack.labels is not None
    assert pack.labels.tolist() == [1, 0]


def test_a_missing_pack_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="GOODCERT_DATA"):
        packs.load(tmp_path, "nothing")


def test_contrast_scales_the_distance_from_the_mean_and_inverts_about_half() -> None:
    images = torch.tensor([100, 140], dtype=torch.uint8).reshape(1, 1, 1, 2).repeat(400, 1, 1, 1)
    changed = random_contrast(images, 3.0, torch.Generator().manual_seed(0)).int()
    difference = (changed[:, 0, 0, 1] - changed[:, 0, 0, 0]).float()
    assert difference.abs().min() >= 13  # 40 / 3
    assert difference.abs().max() <= 121  # 40 * 3
    assert 0.4 < (difference < 0).float().mean() < 0.6


def test_contrast_of_1_changes_nothing() -> None:
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
    assert torch.equal(random_contrast(images, 1.0, torch.Generator()), images)


def test_a_flip_mirrors_half_of_the_images_and_leaves_the_rest() -> None:
    images = torch.arange(400 * 6, dtype=torch.int32).reshape(400, 1, 2, 3)
    flipped = random_flip(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(dims=(3,))).all(dim=(1, 2, 3))
    kept = (flipped == images).all(dim=(1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
def test_autoaugment_changes_images_within_their_range_as_its_generator_says(policy: str) -> None:
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    state = torch.random.get_rng_state()
    first, again = (auto_augment(images, policy, torch.Generator().manual_seed(0)) for _ in range(2))
    other = auto_augment(images, policy, torch.Generator().manual_seed(5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, images)
    assert ((first >= 0) & (first <= 1)).all()
    assert first.shape == images.shape


def test_autoaugment_draws_a_pair_of_operations_for_every_image() -> None:
    invert = ("invert", 1.0, None)
    images = torch.full((200, 3, 8, 8), 0.25)
    policy = [[invert], [invert, invert]]  # one turns an image around, the other there and back
    augmented = auto_augment(images, policy, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    inverted = torch.isclose(augmented, torch.tensor(0.75)).all(dim=(1, 2, 3))
    kept = torch.isclose(augmented, images).all(dim=(1, 2, 3))
    assert (inverted ^ kept).all()
    assert 70 < inverted.sum() < 130
