"""Noise images, on which a classifier should be least confident: uniform, smoothed and permuted noise (Hein,
Andriushchenko and Bitterwolf, CVPR 2019).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

SMOOTHING = (1.0, 2.5)
"""The standard deviation of the Gaussian filter, in pixels, is drawn between these."""


def smoothed(noise: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """(N, H, W, ...) blurred within each channel, each image by its own amount, and stretched to 256 levels."""
    widths = np.random.default_rng(seed).uniform(*SMOOTHING, len(noise))
    return np.stack([_smooth(image, width) for image, width in zip(noise, widths, strict=True)])


def _smooth(image: NDArray[np.uint8], width: float) -> NDArray[np.uint8]:
    blurred: NDArray[np.float64] = gaussian_filter(image.astype(np.float64), width, axes=(0, 1))
    low, high = blurred.min(), blurred.max()
    stretched = 255 * (blurred - low) / max(high - low, 1e-9)
    return np.asarray(np.rint(stretched), np.uint8)


def permuted(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """(N, H, W, ...) with the pixels of every image in an order of its own; colours stay together."""
    pixels = images.reshape(len(images), images.shape[1] * images.shape[2], -1)
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(pixels.shape[1]), (len(pixels), 1)), axis=1)
    return np.take_along_axis(pixels, order[:, :, None], axis=1).reshape(images.shape)
