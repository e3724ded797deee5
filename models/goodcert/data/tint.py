"""Colours grey images: random colours for their foreground and background."""

import numpy as np
from numpy.typing import NDArray


def tinted(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """(N, H, W) to (N, H, W, 3): black and white become two colours of each image's own, greys lie between."""
    black, white = np.random.default_rng(seed).integers(0, 256, (2, len(images), 1, 1, 3))
    share = images[..., None].astype(np.float32) / 255
    return np.asarray(np.rint(black + (white - black) * share), np.uint8)
