"""Outliers made harder: what tells them from bright glyphs on black must be their shape, not their ground.

All work on uint8 images (N, C, H, W) and draw from a generator of their own.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.data.images import random_flip

COARSE = (2, 6)
"""Random fields have between so many values along a side; fewer make larger shapes."""
STROKES = (0.8, 2.0)
"""Half the width of a stroke, in pixels, is drawn between these."""
PEN_STROKES = 4
"""A sign written by a pen has at most so many strokes."""
_SEGMENTS = 8
"""Straight pieces that a curve is drawn with."""


def cut_out(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`share` of the images with a random smooth part of them left, in half of these like an object
    in the middle, and the rest black."""
    if share == 0:
        return images
    count, size = len(images), images.shape[2]
    level, centred, chosen = torch.rand(3, count, 1, 1, 1, generator=generator)
    fields = random_fields(count, size, generator) + (centred < 0.5) * _dome(size)
    return torch.where((chosen < share) & (fields < level - 0.5), torch.zeros_like(images), images)


def near(images: Tensor, labels: Tensor, turned: Tensor, generator: torch.Generator) -> Tensor:
    """As many outliers as glyphs `images` with `labels` (N,), hard to tell from them: a quarter each of strokes,
    of signs written by a pen, of halves of two glyphs, and of glyphs turned by a quarter.

    turned: bool (classes,), of which classes a quarter turn makes something else; strokes stand in for the others.
    """
    partner = torch.roll(torch.arange(len(images)), 1)
    pick = torch.randint(4, (len(images),), generator=generator)
    pick[(pick == 2) & (labels == labels[partner])] = 0
    pick[(pick == 3) & ~turned[labels]] = 0
    made = strokes(images, generator)
    made[pick == 1] = written(images[pick == 1], generator)
    made[pick == 2] = halves(images[pick == 2], images[partner[pick == 2]], generator)
    made[pick == 3] = quarter_turned(images[pick == 3], generator)
    return made


def strokes(like: Tensor, generator: torch.Generator) -> Tensor:
    """White lines on black, of the shape of `like`: level sets of random fields, within a random box."""
    count, channels, size, _ = like.shape
    fields = random_fields(count, size, generator)
    down, right = torch.gradient(fields, dim=(2, 3))
    slope = torch.hypot(down, right)
    width = torch.empty(count, 1, 1, 1).uniform_(*STROKES, generator=generator)
    ink = (1 + width - fields.abs() / (slope + 1e-3)).clamp(0, 1) * _boxes(count, size, generator)
    return (255 * ink).round().to(torch.uint8).repeat(1, channels, 1, 1)


def written(like: Tensor, generator: torch.Generator) -> Tensor:
    """White signs on black, of the shape of `like` and as large as digits are: two to four strokes of a pen, half
    of them straight and half curved, most of which begin on the one before."""
    count, channels, size, _ = like.shape
    lines = [_curves(count, generator) for _ in range(PEN_STROKES)]
    for one, after in pairwise(lines):
        start = torch.randint(_SEGMENTS + 1, (count,), generator=generator)
        joined = one[torch.arange(count), start][:, None]
        after += (torch.rand(count, 1, 1, generator=generator) < 0.8) * (joined - after[:, :1])
    drawn = torch.arange(PEN_STROKES) < torch.randint(2, PEN_STROKES + 1, (count, 1), generator=generator)
    width = torch.empty(count, 1, 1).uniform_(*STROKES, generator=generator)
    distance = _distances(_fitted(torch.stack(lines, dim=1), drawn, size, generator), size)
    ink = (0.5 + width - distance.where(drawn[..., None, None], torch.inf).amin(dim=1)).clamp(0, 1)
    return (255 * ink[:, None]).round().to(torch.uint8).repeat(1, channels, 1, 1)


def halves(first: Tensor, second: Tensor, generator: torch.Generator) -> Tensor:
    """The upper or left part of the one, the rest of the other, cut near the middle."""
    size = first.shape[2]
    cut = torch.randint(size // 3, size - size // 3, (len(first), 1, 1, 1), generator=generator)
    across = torch.rand(len(first), 1, 1, 1, generator=generator) < 0.5
    at = torch.arange(size)
    place = torch.where(across, at[:, None].expand(size, size), at.expand(size, size))
    return torch.where(place < cut, first, second)


def quarter_turned(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turned by 90 degrees to the left or the right, and perhaps mirrored."""
    left = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    turned = torch.where(left, images.rot90(1, (2, 3)), images.rot90(3, (2, 3)))
    return random_flip(turned, generator)


def random_fields(count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, 1, size, size) smooth random fields of about mean 0 and variance 1."""
    coarse = torch.randint(*COARSE, (), generator=generator)
    values = torch.randn(count, 1, int(coarse) + 2, int(coarse) + 2, generator=generator)
    fields = F.interpolate(values, (size, size), mode="bicubic", align_corners=True)
    return fields / fields.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)


def _dome(size: int) -> Tensor:
    """(size, size) high in the middle, far below 0 at the edges."""
    at = torch.linspace(-1, 1, size)
    return 2.5 - 5 * (at[:, None] ** 2 + at**2)


def _boxes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, 1, size, size) 1 within a random box, 0 around it."""
    edges = torch.rand(4, count, 1, generator=generator) * size / 3
    at = torch.arange(size)
    rows = (at >= edges[0]) & (at < size - edges[1])
    columns = (at >= edges[2]) & (at < size - edges[3])
    return (rows[:, :, None] & columns[:, None, :])[:, None].float()


def _curves(count: int, generator: torch.Generator) -> Tensor:
    """(count, points, 2) quadratic Bezier curves in the unit square."""
    first, bend, last = torch.rand(3, count, 1, 2, generator=generator)
    straight = torch.rand(count, 1, 1, generator=generator) < 0.5
    bend = torch.where(straight, (first + last) / 2, bend)
    t = torch.linspace(0, 1, _SEGMENTS + 1)[:, None]
    return torch.lerp(torch.lerp(first, bend, t), torch.lerp(bend, last, t), t)


def _fitted(lines: Tensor, drawn: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """The lines (N, 4, points, 2) in pixels: those drawn (N, 4) in the middle, half to two thirds as long as the
    image."""
    shown = drawn[..., None, None]
    low = lines.where(shown, torch.inf).amin(dim=(1, 2), keepdim=True)
    high = lines.where(shown, -torch.inf).amax(dim=(1, 2), keepdim=True)
    length = size * torch.empty(len(lines), 1, 1, 1).uniform_(1 / 2, 2 / 3, generator=generator)
    return size / 2 + (lines - (low + high) / 2) * length / (high - low).amax(dim=-1, keepdim=True)


def _distances(lines: Tensor, size: int) -> Tensor:
    """(..., size, size) how far each pixel is from a line of straight pieces through the points (..., P, 2)."""
    at = torch.arange(size) + 0.5
    pixels = torch.cartesian_prod(at, at)
    start, piece = lines[..., :-1, None, :], lines.diff(dim=-2)[..., None, :]
    along = ((pixels - start) * piece).sum(dim=-1) / piece.square().sum(dim=-1).clamp(min=1e-6)
    nearest = start + along.clamp(0, 1)[..., None] * piece
    distances: Tensor = torch.linalg.vector_norm(pixels - nearest, dim=-1).amin(dim=-2)
    return distances.reshape(*lines.shape[:-2], size, size)
