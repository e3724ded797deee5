"""The measures of out-of-distribution detection by confidence."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from goodcert.engine import Certificates


@dataclass(frozen=True)
class OutResult:
    """One out-distribution, in percent.

    auc: how often an in-distribution image has a higher confidence than an outlier.
    guaranteed_auc: the same with each outlier's guaranteed upper bound in place of its confidence: no
    perturbation within epsilon can push the AUC below it.
    certified: outliers that no perturbation within epsilon can lift above the threshold.
    mean_confidence, mean_bound: over the outliers, in [0, 1].
    """

    images: int
    auc: float
    guaranteed_auc: float
    certified: float
    mean_confidence: float
    mean_bound: float


@dataclass(frozen=True)
class Results:
    """accuracy: percent of in-distribution test images; accepted: percent of them above the threshold."""

    epsilon: str
    images: int
    accuracy: float
    accepted: float
    mean_confidence: float
    outside: dict[str, OutResult]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def auc(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Percent of pairs in which the in-distribution score is the higher one; ties count half."""
    truth = np.r_[np.ones(len(inside)), np.zeros(len(outside))]
    return float(100 * roc_auc_score(truth, np.r_[inside, outside]))


def out_result(inside: NDArray[np.float64], outside: Certificates, threshold: float) -> OutResult:
    """`inside`: confidences (N,) of in-distribution images; `outside`: certificates at epsilon."""
    bound = outside.confidence_upper_bound
    return OutResult(
        images=len(bound),
        auc=auc(inside, outside.confidence),
        guaranteed_auc=auc(inside, bound),
        certified=float(100 * np.mean(bound <= threshold)),
        mean_confidence=float(outside.confidence.mean()),
        mean_bound=float(bound.mean()),
    )
