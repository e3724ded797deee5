"""What is done to images before they meet a network: greying, crops, noise."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601 luma."""


def grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, H, W, 3) to (N, H, W), rounded to whole levels."""
    if images.ndim == 3:
        return images
    weighted = (images[..., i].astype(np.float32) * np.float32(w) for i, w in enumerate(GREY_WEIGHTS))
    return np.rint(sum(weighted)).astype(np.uint8)


def centre_crop(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle size x size pixels of images (N, H, W, ...)."""
    top, left = ((extent - size) // 2 for extent in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


def uniform_noise(count: int, shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Every pixel of its own, uniform over the 256 levels: (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def random_crop(images: Tensor, size: int, padding: int, generator: torch.Generator) -> Tensor:
    """A window of size x size at a random place of each zero-padded image: (N, C, H, W) to (N, C, size, size)."""
    padded = torch.nn.functional.pad(images, [padding] * 4)
    count, height, width = len(images), padded.shape[2] - size + 1, padded.shape[3] - size + 1
    top = torch.randint(height, (count,), generator=generator)
    left = torch.randint(width, (count,), generator=generator)
    rows = (top[:, None] + torch.arange(size))[:, None, :, None]
    columns = (left[:, None] + torch.arange(size))[:, None, None, :]
    channels = torch.arange(images.shape[1])[None, :, None, None]
    return padded[torch.arange(count)[:, None, None, None], channels, rows, columns]


def random_contrast(images: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """uint8 images (N, C, H, W) with their distance from their own mean scaled by a random factor between
    1 / most and most, half of them inverted, clipped to the 256 levels; unchanged for `most` 1.

    Strong contrast gives natural images the black and white areas of drawings and glyphs.
    """
    if most == 1:
        return images
    draws = torch.rand(2, len(images), 1, 1, 1, generator=generator)
    factor = most ** (2 * draws[0] - 1) * torch.where(draws[1] < 0.5, -1.0, 1.0)
    mean = images.float().mean(dim=(1, 2, 3), keepdim=True)
    centre = torch.where(factor < 0, 255 - mean, mean)
    return (centre + factor * (images.float() - mean)).round().clamp(0, 255).to(torch.uint8)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W), half of them mirrored left to right."""
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirrored, images.flip(dims=(3,)), images)


def auto_augment(images: Tensor, policy: str, generator: torch.Generator) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] after AutoAugment (Cubuk et al., CVPR 2019), each by a pair of operations
    drawn for it alone from the policy learnt on `cifar10`, `svhn` or `imagenet`."""
    from kornia.augmentation.auto import AutoAugment  # of the training extra, and slow to import

    pairs = list(AutoAugment(policy).children())  # called as a whole it draws one pair for all images
    drawn = torch.randint(len(pairs), (len(images),), generator=generator)
    augmented = images.clone()
    with torch.random.fork_rng(), torch.no_grad():  # kornia draws from the global generator
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for number in sorted(set(drawn.tolist())):
            augmented[drawn == number] = pairs[number](images[drawn == number])
    return augmented.clamp(0, 1)
