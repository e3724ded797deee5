"""The measures of out-of-distribution detection by confidence. Every tie counts against the model (Bitterwolf,
Meinke and Hein, NeurIPS 2020, appendix C): a network that is constant must not look half right."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from goodcert.engine import Certificates

Scores = NDArray[np.float64]
"""(N,) confidences, or bounds on them, in [0, 1]."""

TRUE_POSITIVE_RATE = 0.95

ABSENT = "-"


def percent(value: float | None) -> str:
    """With two decimals, or a dash where it is not known."""
    return ABSENT if value is None else f"{value:.2f}"


@dataclass(frozen=True)
class OutResult:
    """One out-distribution, in percent.

    auc: how often an in-distribution image has a higher confidence than an outlier.
    guaranteed_auc: the same with each outlier's guaranteed upper bound in place of its confidence: no
    perturbation within epsilon can push the AUC below it.
    certified: outliers that no perturbation within epsilon can lift above the threshold.
    mean_confidence, mean_bound: over the outliers, in [0, 1].
    fpr95, guaranteed_fpr95: outliers at or above the confidence that 95 % of the in-distribution reach, by their
    confidences and by their bounds.
    attacked: on how many of the outliers the attack was run; adversarial_auc, adversarial_fpr95: with the highest
    confidence that was found within epsilon of each of these; None without an attack.
    """

    images: int
    auc: float
    guaranteed_auc: float
    certified: float
    mean_confidence: float
    mean_bound: float
    fpr95: float
    guaranteed_fpr95: float
    attacked: int = 0
    adversarial_auc: float | None = None
    adversarial_fpr95: float | None = None


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

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """What `to_json` gave, as a model file keeps it."""
        return cls(**{**facts, "outside": {name: OutResult(**r) for name, r in facts["outside"].items()}})


def auc(inside: Scores, outside: Scores) -> float:
    """Percent of pairs in which the in-distribution score is strictly the higher one."""
    beaten = np.searchsorted(np.sort(outside), inside, side="left")
    return float(100 * beaten.mean() / len(outside))


def false_positives(inside: Scores, outside: Scores, rate: float = TRUE_POSITIVE_RATE) -> float:
    """Percent of outliers that reach the highest score that a share `rate` of the in-distribution reaches."""
    reached = np.sort(inside)[len(inside) - ceil(rate * len(inside) - 1e-9)]
    return float(100 * np.mean(outside >= reached))


def roc(inside: Scores, outside: Scores, points: int = 200) -> tuple[Scores, Scores]:
    """(false positive rates, true positive rates) from (0, 0) to (1, 1). Every in-distribution score is a
    threshold, and whatever reaches it is accepted; at most `points` of them are kept. Joined first to the right
    and then upwards, with all points kept, the area below is `auc`."""
    thresholds = np.sort(inside)[::-1]
    chosen = np.unique(np.linspace(0, len(thresholds) - 1, points).astype(int))
    false = np.array([np.mean(outside >= t) for t in thresholds[chosen]])
    return np.r_[0.0, false, 1.0], np.r_[0.0, (chosen + 1) / len(thresholds), 1.0]


def out_result(
    inside: Scores, outside: Certificates, threshold: float, attacked: Scores | None = None
) -> OutResult:
    """`inside`: confidences (N,) of in-distribution images; `outside`: certificates at epsilon; `attacked`: the
    highest confidences found within epsilon of some of the outliers."""
    bound = outside.confidence_upper_bound
    return OutResult(
        images=len(bound),
        auc=auc(inside, outside.confidence),
        guaranteed_auc=auc(inside, bound),
        certified=float(100 * np.mean(bound <= threshold)),
        mean_confidence=float(outside.confidence.mean()),
        mean_bound=float(bound.mean()),
        fpr95=false_positives(inside, outside.confidence),
        guaranteed_fpr95=false_positives(inside, bound),
        attacked=0 if attacked is None else len(attacked),
        adversarial_auc=None if attacked is None else auc(inside, attacked),
        adversarial_fpr95=None if attacked is None else false_positives(inside, attacked),
    )
