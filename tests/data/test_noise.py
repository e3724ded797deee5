"""Noise that is smoothed or permuted."""

import numpy as np

from goodcert.data.images import uniform_noise
from goodcert.data.noise import permuted, smoothed


def test_permuted_images_keep_their_pixels_in_another_order_each() -> None:
    images = np.tile(np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3), (2, 1, 1, 1))
    shuffled = permuted(images, seed=0)
    assert [sorted(map(tuple, x.reshape(-1, 3))) for x in shuffled] == [
        [*map(tuple, images[0].reshape(-1, 3))]
    ] * 2
    assert not np.array_equal(shuffled[0], shuffled[1])


def test_smoothed_noise_has_like_neighbours_and_reaches_black_and_white() -> None:
    noise = uniform_noise(20, (16, 16), seed=0)
    smooth = smoothed(noise, seed=0)
    assert (smooth.min(axis=(1, 2)) == 0).all()
    assert (smooth.max(axis=(1, 2)) == 255).all()
    assert np.abs(np.diff(smooth.astype(int))).mean() < np.abs(np.diff(noise.astype(int))).mean() / 2


def test_colours_are_blurred_apart() -> None:
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[0, 4, 4, 0] = 255
    assert not smoothed(image, seed=0)[..., 1:].any()


def test_a_flat_image_stays_without_structure() -> None:
    assert not smoothed(np.full((1, 8, 8), 77, np.uint8), seed=0).any()
