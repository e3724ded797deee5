"""From the interval of the last features to guaranteed bounds on the softmax confidence.

The last affine layer is not bounded logit by logit but fused into all differences of two logits, which keeps
what both share from being paid for twice (Bitterwolf et al., NeurIPS 2020, eq. 5):

    ub(f_k - f_l) = (W_k - W_l) mu + |W_k - W_l| r + b_k - b_l,          ub(f_k - f_k) = 0,

with mu = (l + h) / 2 and r = (h - l) / 2, whose halves are taken of the weights, once.

The softmax confidence is then at most max_k 1 / sum_l exp(-ub(f_k - f_l)) (eq. 6), and by the same argument
at least max_k 1 / sum_l exp(ub(f_l - f_k)).

Rounding. The deployed model rounds each logit separately, each by at most gamma (|W_k||x| + |b_k|) + 2^-104
(rounding.py), so a difference may exceed its real bound by the sum of two such terms with |x| at most
max(|l|, |h|). Everything here runs in float64, whose own errors are at most 2 (F + 8) 2^-53 times the same
sums of absolute values for F features: below 2^-24 of that margin, which is widened by a factor 1 + 2^-20
for them. The exponentials and the sum of K <= `MAX_CLASSES` terms err by less than 2^-41 relatively, here
and in the confidence that is served; a factor 1 +- 2^-40 covers both.

Exporters to ONNX store the plain numbers of an expression in float32, so only numbers that float32 holds
exactly stand in one here: 1 + 2^-40 would silently become 1. (The optimizer of torch's newer exporter even drops
factors that are merely close to 1: export with `optimize=False`.)
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding, float32_above

MAX_CLASSES = 1024
_CHUNK = 2**22
"""Elements of the difference matrix that are held at once."""


class LogitDifferences:
    """Eq. 5 for one last layer: weight (K, F), bias (K,). Call it with the interval of the features (N, F).

    size: (K,), what stands for |b| in the margin, where the bias was folded from several parts. roundings: how
    many more lie on a path than the layer has by itself (fusion.py).
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, rounding: Rounding, size: Tensor | None = None, roundings: int = 0
    ) -> None:
        classes, features = weight.shape
        if not 2 <= classes <= MAX_CLASSES:
            raise ValueError(f"got {classes} classes, expected 2 to {MAX_CLASSES}")
        self._weight, self._bias = weight, bias
        self._first, self._second = torch.triu_indices(classes, classes, 1, device=weight.device)
        self._order = _pair_order(classes, self._first, self._second)
        rows = max(1, _CHUNK // features)
        chunks = zip(torch.split(self._first, rows), torch.split(self._second, rows), strict=True)
        self._chunks = list(chunks)
        # One chunk is worth keeping; more are made anew each time, to bound the memory.
        self._kept = self._differences(self._chunks[0]) if len(self._chunks) == 1 else None
        terms = features + 1 + roundings
        self._strays = self._stray(rounding, terms, bias if size is None else size) if rounding.unit else None

    def __call__(self, x: Interval) -> Tensor:
        """(N, K, K): entry (k, l) bounds f_k - f_l from above; the diagonal is exactly 0."""
        total, width = x.lower + x.upper, x.upper - x.lower
        chunks = [self._kept] if self._kept else map(self._differences, self._chunks)
        bounds = [(F.linear(total, w, b), F.linear(width, w_abs)) for w, w_abs, b in chunks]
        centre, reach = (torch.cat(p, dim=1) for p in zip(*bounds, strict=True)) if len(bounds) > 1 else bounds[0]
        if self._strays:
            stray = F.linear(x.magnitude, *self._strays)
            reach = reach + (stray if self._kept else self._in_pairs(stray))
        both = F.pad(torch.cat([centre + reach, reach - centre], dim=1), (1, 0))
        classes = self._weight.shape[0]
        return both[:, self._order].reshape(-1, classes, classes)

    def _differences(self, pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Half of W_k - W_l, its absolute value, and b_k - b_l, a row a pair."""
        first, second = pairs
        rows = (self._weight[first] - self._weight[second]) * 0.5
        return rows, rows.abs(), self._bias[first] - self._bias[second]

    def _stray(self, rounding: Rounding, terms: int, size: Tensor) -> tuple[Tensor, Tensor]:
        """How far the deployed logits can stray from real arithmetic, as a linear map of the largest |x|: where
        the pairs are few, for both of each pair together; else for each logit."""
        gamma = float32_above(rounding.gamma(terms) * (1 + 2**-20))
        weight, bias = self._weight.abs() * gamma, size.abs() * gamma + rounding.tiny
        return (self._in_pairs(weight.T).T, self._in_pairs(bias)) if self._kept else (weight, bias)

    def _in_pairs(self, values: Tensor) -> Tensor:
        """The sum of the two of each pair, of values (..., K)."""
        return values[..., self._first] + values[..., self._second]


def _pair_order(classes: int, first: Tensor, second: Tensor) -> Tensor:
    """Where entry (k, l) of the flattened matrix stands in [0, pairs (k < l), pairs (k > l)]."""
    order = first.new_zeros(classes, classes)
    positions = torch.arange(1, len(first) + 1, device=first.device)
    order[first, second] = positions
    order[second, first] = positions + len(first)
    return order.flatten()


def confidence_upper_bound(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) eq. 6, covering rounding, at most 1. margins (N, K, K), float64. NaN gives 1: no guarantee."""
    bound = (1 / _sum_exp(-margins, axis=2)).max(axis=1)
    bound = bound + bound * 2**-40
    return np.asarray(np.where(bound <= 1, bound, 1.0))


def confidence_lower_bound(margins: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) the mirror image of eq. 6, covering rounding, at least 1/K as every confidence is."""
    bound: NDArray[np.float64] = (1 / _sum_exp(margins, axis=1)).max(axis=1)
    bound = bound - bound * 2**-40
    lowest = 1 / margins.shape[2]
    return np.asarray(np.where(bound >= lowest, bound, lowest))


def _sum_exp(margins: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):  # infinity is an answer, NaN a refusal
        return np.asarray(np.exp(margins).sum(axis=axis))
