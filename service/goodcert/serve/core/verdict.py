"""The four verdicts: what a person or a program may do with an answer."""

from enum import StrEnum


class Verdict(StrEnum):
    """Accepted or rejected, and whether that is guaranteed over the whole ball."""

    IN_DISTRIBUTION_CERTIFIED = "in_distribution_certified"
    IN_DISTRIBUTION = "in_distribution"
    OUT_OF_DISTRIBUTION_CERTIFIED = "out_of_distribution_certified"
    OUT_OF_DISTRIBUTION = "out_of_distribution"


ACCEPTED = frozenset({Verdict.IN_DISTRIBUTION, Verdict.IN_DISTRIBUTION_CERTIFIED})


def judge(lower: float, confidence: float, upper: float, possible: int, threshold: float) -> Verdict:
    """The verdict on a sound answer.

    lower, confidence, upper: in [1/K, 1], in this order. possible: how many labels can win inside the
    ball. threshold: above it the model vouches for its answer; equal is not above.
    """
    if lower > threshold and possible == 1:
        return Verdict.IN_DISTRIBUTION_CERTIFIED
    if confidence > threshold:
        return Verdict.IN_DISTRIBUTION
    if upper <= threshold:
        return Verdict.OUT_OF_DISTRIBUTION_CERTIFIED
    return Verdict.OUT_OF_DISTRIBUTION
