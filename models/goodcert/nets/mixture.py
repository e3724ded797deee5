"""Mixtures of isotropic Gaussians, as densities of images (Meinke and Hein, ICLR 2020)."""

from math import log, pi

import torch
from torch import Tensor, nn


class Mixture(nn.Module):
    """log p(x) = log sum_m w_m N(x; centre_m, sigma_m^2 I).

    centres (M, D), log_variance (M,), log_weight (M,), the last up to a common summand.
    """

    def __init__(self, centres: Tensor, log_variance: Tensor, log_weight: Tensor) -> None:
        super().__init__()
        self.centres = nn.Parameter(centres)
        self.log_variance = nn.Parameter(log_variance)
        self.log_weight = nn.Parameter(log_weight)

    def offsets(self) -> Tensor:
        """(M,) log w_m - D/2 log(2 pi sigma_m^2): what a component is worth at its centre."""
        return self.log_weight.log_softmax(dim=0) - self.centres.shape[1] / 2 * (log(2 * pi) + self.log_variance)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1) log densities of images (N, C, H, W) with C H W = D, in float32 under autocast, too."""
        with torch.autocast(images.device.type, enabled=False):
            squares = self._squares(images.flatten(1).float())
            components: Tensor = self.offsets() - squares / (2 * self.log_variance.exp())
            return components.logsumexp(dim=1, keepdim=True)

    def ends_in_ball(self, images: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """(N, 1) least and largest that the log density can be within `radius` of images (N, C, H, W) in the
        l2 norm, each component taken where it is smallest or largest."""
        distances = torch.cdist(images.flatten(1), self.centres, compute_mode="donot_use_mm_for_euclid_dist")
        double_variance = 2 * self.log_variance.exp()
        lower = self.offsets() - (distances + radius).square() / double_variance
        upper = self.offsets() - (distances - radius).clamp(min=0).square() / double_variance
        return lower.logsumexp(dim=1, keepdim=True), upper.logsumexp(dim=1, keepdim=True)

    def _squares(self, points: Tensor) -> Tensor:
        """(N, M) |x - centre|^2 as |x|^2 - 2 x c + |c|^2: one matrix product, where differences would be N M D
        numbers."""
        own = points.square().sum(dim=1, keepdim=True) + self.centres.square().sum(dim=1)
        return (own - 2 * points @ self.centres.T).clamp(min=0)


class LogOdds(nn.Module):
    """log p(in | x) / p(out | x) for equal priors, from the two densities. In the Euclidean metric, where the
    paper measures along the principal axes of the data: so the l2 balls are those of the images."""

    def __init__(self, inside: Mixture, outside: Mixture) -> None:
        super().__init__()
        self.inside = inside
        self.outside = outside

    def forward(self, images: Tensor) -> Tensor:
        inside: Tensor = self.inside(images)
        outside: Tensor = self.outside(images)
        return inside - outside

    def upper_in_ball(self, images: Tensor, radius: float) -> Tensor:
        """(N, 1) what the log-odds are at most within `radius` of images (N, C, H, W) in the l2 norm: the
        guarantee of Meinke and Hein, ICLR 2020, measured by `evaluation.l2`. In real arithmetic, never served."""
        _, inside = self.inside.ends_in_ball(images, radius)
        outside, _ = self.outside.ends_in_ball(images, radius)
        return inside - outside


def fitted(images: Tensor, components: int, seed: int) -> Mixture:
    """A mixture around the clusters of images (N, C, H, W) in [0, 1]; a start for gradient descent."""
    from sklearn.cluster import KMeans  # of the training extra

    points = images.flatten(1).numpy()
    clusters = KMeans(components, n_init=1, max_iter=30, random_state=seed).fit(points)
    centres = torch.from_numpy(clusters.cluster_centers_).float()
    labels = torch.from_numpy(clusters.labels_).long()
    counts = torch.bincount(labels, minlength=components)
    squares = (images.flatten(1) - centres[labels]).square().mean(dim=1)
    variance = torch.zeros(components).index_add(0, labels, squares) / counts
    return Mixture(centres, variance.clamp(min=1e-3).log(), counts.double().log().float())
