"""The guarantee of CCU in its own norm (Meinke and Hein, ICLR 2020).

Within a radius in l2 the distance of an image to each centre changes by no more than the radius. That bounds the
densities of both mixtures, hence p(in | x), and with it the confidence, whatever the classifier does:

    confidence <= p_in + (1 - p_in) / K.

In real arithmetic: for tables, never served.
"""

from math import log, pi

import numpy as np
import torch
from numpy.typing import NDArray

from goodcert.bounds.graph import Graph
from goodcert.nets.mixture import LogOdds, Mixture

RADII = (0.3, 1.0, 3.0)
"""Of the balls, in the Euclidean norm over all pixels in [0, 1]."""

_CHUNK = 1000


def mixtures(graph: Graph) -> LogOdds | None:
    """The two mixtures of a CCU model in float64, by the names that its export gave them; None for any other."""
    parts = [f"discriminator/{part}" for part in ("inside", "outside")]
    if not all(
        f"{part}/{name}" in graph.constants for part in parts for name in ("centres", "factors", "offsets")
    ):
        return None
    return LogOdds(*(_mixture(graph, part) for part in parts))


def _mixture(graph: Graph, part: str) -> Mixture:
    """From centres c (1, M, D), factors f and offsets o (1, M): log p(x) = logsumexp_m (f_m |x - c_m|^2 + o_m)."""
    centres, factors, offsets = (
        graph.constants[f"{part}/{n}"][0].double() for n in ("centres", "factors", "offsets")
    )
    log_variance = (-0.5 / factors).log()
    return Mixture(centres, log_variance, offsets + centres.shape[1] / 2 * (log(2 * pi) + log_variance))


@torch.no_grad()
def bounds(odds: LogOdds, images: NDArray[np.uint8], classes: int) -> NDArray[np.float64]:
    """(R, N) upper bounds on the confidence within each of RADII of uint8 images (N, C, H, W)."""
    chunks = np.array_split(images, -(-len(images) // _CHUNK))
    return np.concatenate([_bounds(odds, torch.from_numpy(chunk / 255), classes) for chunk in chunks], axis=1)


def _bounds(odds: LogOdds, images: torch.Tensor, classes: int) -> NDArray[np.float64]:
    inside = torch.stack([odds.upper_in_ball(images, radius)[:, 0] for radius in RADII]).sigmoid()
    return np.asarray(inside + (1 - inside) / classes)
