"""The measures, on numbers that can be checked by hand."""

import numpy as np
import pytest

from goodcert.engine import Certificates
from goodcert.evaluation.measures import auc, out_result
from goodcert.training.export import threshold


def certificates(confidence: list[float], bound: list[float]) -> Certificates:
    n = len(confidence)
    return Certificates(
        np.zeros(n, np.int64),
        np.array(confidence),
        np.full(n, 0.5),
        np.array(bound),
        np.zeros((n, 2, 2)),
        np.full(n, "ibp"),
    )


def test_auc_is_the_share_of_pairs_in_the_right_order_and_ties_count_half() -> None:
    # 0.9 beats 0.5 and 0.8; 0.8 beats 0.5 and ties with 0.8: 3.5 of 4 pairs.
    assert auc(np.array([0.9, 0.8]), np.array([0.5, 0.8])) == pytest.approx(87.5)


def test_the_guaranteed_auc_puts_the_bound_in_place_of_the_confidence() -> None:
    result = out_result(np.array([0.9, 0.8]), certificates([0.5, 0.5], [0.6, 1.0]), threshold=0.7)
    assert result.auc == 100
    assert result.guaranteed_auc == 50
    assert result.certified == 50
    assert result.mean_bound == pytest.approx(0.8)


def test_95_percent_of_the_held_out_confidences_exceed_the_threshold() -> None:
    confidences = np.random.default_rng(0).permutation(np.arange(1, 101) / 101)
    assert threshold(confidences) == 5 / 101
    assert np.mean(confidences > threshold(confidences)) == 0.95


def test_a_threshold_needs_enough_images() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        threshold(np.linspace(0.5, 1, 19))
