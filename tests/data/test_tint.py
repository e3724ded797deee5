"""Grey images in colour."""

import numpy as np

from goodcert.data.tint import tinted


def test_black_and_white_become_two_colours_of_the_images_own_and_grey_lies_between() -> None:
    images = np.tile(np.array([[0, 51, 255]], np.uint8), (2, 1, 1))
    (black, grey, white), (other, *_) = tinted(images, seed=0)[:, 0].astype(int)
    np.testing.assert_allclose(grey, black + (white - black) / 5, atol=0.5)
    assert (black != white).any()
    assert (black != other).any()
