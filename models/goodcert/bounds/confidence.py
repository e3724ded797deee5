"""From the interval of the last features to guaranteed bounds on the softmax confidence.

The last affine layer is not bounded logit by logit but fused into all differences of two logits, which keeps
what both share from being paid for twice (Bitterwolf et al., NeurIPS 2020, eq. 5):

    ub(f_k - f_l) = (W_k - W_l) mu + |W_k - W_l| r + b_k - b_l,          ub(f_k - f_k) = 0.

The softmax confidence is then at most max_k 1 / sum_l exp(-ub(f_k - f_l)) (eq. 6), and by the same argument
at least max_k 1 / sum_l exp(ub(f_l - f_k)).

Rounding. The deployed model rounds each logit separately, each by at most gamma (|W_k||x| + |b_k|) + 2^-104
(rounding.py), so a difference may exceed its real bound by the sum of two such terms with |x| at most
max(|l|, |h|). Everything here runs in float64, whose own errors are at most 2 (F + 8) 2^-53 times the same
sums of absolute values for F features: below 2^-24 of that margin, which is widened by a factor 1 + 2^-20
for them. The exponentials and the sum of K <= `MAX_CLASSES` terms err by less than 2^-41 relatively, here
and in the confidence that is served; a factor 1 +- 2^-40 covers both.
"""

import torch
from torch import Tensor

from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding

MAX_CLASSES = 1024
_CHUNK = 2**22
"""Elements of the difference matrix that are held at once."""


class LogitDifferences:
    """Eq. 5 for one last layer: weight (K, F), bias (K,). Call it with the interval of the features (N, F)."""

    def __init__(self, weight: Tensor, bias: Tensor, rounding: Rounding) -> None:
        classes, features = weight.shape
        if not 2 <= classes <= MAX_CLASSES:
            raise ValueError(f"got {classes} classes, expected 2 to {MAX_CLASSES}")
        self._weight, self._bias = weight, bias
        self._absolute = torch.cat([weight.abs(), bias.abs()[:, None]], dim=1)
        self._gamma = rounding.gamma(features + 1) * (1 + 2**-20)
        self._tiny = rounding.tiny
        self._first, self._second = torch.triu_indices(classes, classes, 1, device=weight.device)
        self._order = _pair_order(classes, self._first, self._second)
        self._chunks = self._first.split(max(1, _CHUNK // features)), self._second.split(
            max(1, _CHUNK // features)
        )
        # One chunk is worth keeping; more are made anew each time, to bound the memory.
        self._kept = self._rows(*(c[0] for c in self._chunks)) if len(self._chunks[0]) == 1 else None

    def __call__(self, x: Interval) -> Tensor:
        """(N, K, K): entry (k, l) bounds f_k - f_l from above; the diagonal is exactly 0."""
        mu = x.centre
        radius = x.radius(mu)
        pairs = [self._bound(rows, mu, radius) for rows in self._all_rows()]
        centre = torch.cat([c for c, _ in pairs], dim=1)
        reach = torch.cat([r for _, r in pairs], dim=1)
        if self._gamma:
            margin = self._margin(x)
            reach = reach + (margin[:, self._first] + margin[:, self._second])
        zero = torch.zeros_like(centre[:, :1])
        both = torch.cat([zero, centre + reach, reach - centre], dim=1)
        classes = self._weight.shape[0]
        return both[:, self._order].reshape(-1, classes, classes)

    def _all_rows(self) -> list[tuple[Tensor, Tensor]] | map:  # type: ignore[type-arg]
        return [self._kept] if self._kept else map(self._rows, *self._chunks)

    def _rows(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return self._weight[first] - self._weight[second], self._bias[first] - self._bias[second]

    def _bound(self, rows: tuple[Tensor, Tensor], mu: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
        weight, bias = rows
        return torch.nn.functional.linear(mu, weight, bias), radius @ weight.abs().T

    def _margin(self, x: Interval) -> Tensor:
        """(N, K): how far the deployed logits can stray from real arithmetic."""
        magnitude = x.magnitude
        sums = torch.nn.functional.linear(magnitude, self._absolute[:, :-1], self._absolute[:, -1])
        return sums * self._gamma + self._tiny


def _pair_order(classes: int, first: Tensor, second: Tensor) -> Tensor:
    """Where entry (k, l) of the flattened matrix stands in [0, pairs (k < l), pairs (k > l)]."""
    order = first.new_zeros(classes, classes)
    positions = torch.arange(1, len(first) + 1, device=first.device)
    order[first, second] = positions
    order[second, first] = positions + len(first)
    return order.flatten()


def confidence(logits: Tensor) -> Tensor:
    """(N,) the largest softmax probability of logits (N, K), as 1 / sum exp(z - max z) in float64."""
    z = logits.double()
    return 1 / (z - z.amax(dim=1, keepdim=True)).exp().sum(dim=1)


def log_confidence_upper_bound(margins: Tensor) -> Tensor:
    """(N,) eq. 6 in real arithmetic: max_k -log sum_l exp(-ub(f_k - f_l))."""
    return (-torch.logsumexp(-margins, dim=2)).amax(dim=1)


def confidence_upper_bound(margins: Tensor) -> Tensor:
    """(N,) eq. 6, covering rounding, at most 1. margins (N, K, K), float64. NaN gives 1: no guarantee."""
    bound = (1 / (-margins).exp().sum(dim=2)).amax(dim=1) * (1 + 2**-40)
    return torch.where(bound <= 1, bound, torch.ones_like(bound))


def confidence_lower_bound(margins: Tensor) -> Tensor:
    """(N,) the mirror image of eq. 6, covering rounding, at least 1/K as every confidence is."""
    lowest = torch.full_like(margins[:, 0, 0], 1 / margins.shape[2])
    bound = (1 / margins.exp().sum(dim=1)).amax(dim=1) * (1 - 2**-40)
    return torch.where(bound >= lowest, bound, lowest)
