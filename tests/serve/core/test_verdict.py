"""The table of verdicts, row by row and at its edges."""

import pytest

from goodcert.serve.core.verdict import Verdict, judge

CERTIFIED_IN = Verdict.IN_DISTRIBUTION_CERTIFIED
IN = Verdict.IN_DISTRIBUTION
CERTIFIED_OUT = Verdict.OUT_OF_DISTRIBUTION_CERTIFIED
OUT = Verdict.OUT_OF_DISTRIBUTION


@pytest.mark.parametrize(
    ("lower", "confidence", "upper", "possible", "expected"),
    [
        (0.8, 0.9, 1.0, 1, CERTIFIED_IN),
        (0.8, 0.9, 1.0, 2, IN),  # another label could win
        (0.7, 0.9, 1.0, 1, IN),  # a lower bound at the threshold is not above it
        (0.3, 0.71, 1.0, 1, IN),
        (0.3, 0.7, 0.7, 3, CERTIFIED_OUT),  # at the threshold the model does not vouch
        (0.3, 0.5, 0.6, 1, CERTIFIED_OUT),
        (0.3, 0.5, 0.71, 3, OUT),
        (0.3, 0.7, 0.9, 1, OUT),
    ],
)
def test_every_row_of_the_table(lower, confidence, upper, possible, expected):
    assert judge(lower, confidence, upper, possible, threshold=0.7) is expected


def test_a_certified_rejection_is_never_one_that_the_model_vouches_for():
    above = 0.7000000000000001
    assert judge(0.1, above, above, 1, threshold=0.7) is IN
