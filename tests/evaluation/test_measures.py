"""The measures, on numbers that can be checked by hand."""

import numpy as np
import pytest

from goodcert.engine import Certificates
from goodcert.evaluation.measures import Results, auc, false_positives, out_result, percent, roc
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


def test_auc_is_the_share_of_pairs_in_the_right_order_and_a_tie_is_a_loss() -> None:
    # 0.9 beats 0.5 and 0.8; 0.8 beats 0.5 and only ties with 0.8: 3 of 4 pairs.
    assert auc(np.array([0.9, 0.8]), np.array([0.5, 0.8])) == 75


def test_a_constant_network_has_an_auc_of_zero() -> None:
    assert auc(np.full(5, 0.1), np.full(7, 0.1)) == 0


def test_an_outlier_at_the_95_percent_threshold_is_a_false_positive() -> None:
    inside = np.arange(1, 101) / 100  # 95 of them reach 0.06
    assert false_positives(inside, np.array([0.05, 0.0599, 0.06, 0.07])) == 50


def test_with_few_images_more_than_95_percent_reach_the_threshold() -> None:
    # 0.2 is reached by 9 of 10 only, so the threshold is 0.1.
    assert false_positives(np.arange(1, 11) / 10, np.array([0.05, 0.1, 0.15, 0.2])) == 75


def test_the_area_below_the_roc_curve_joined_right_then_up_is_the_auc() -> None:
    random = np.random.default_rng(0)
    inside, outside = random.integers(3, 12, 40) / 12, random.integers(1, 9, 30) / 12  # many ties
    false, true = roc(inside, outside, points=100)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert 100 * np.sum(np.diff(false) * true[:-1]) == pytest.approx(auc(inside, outside))


def test_the_guaranteed_measures_put_the_bound_in_place_of_the_confidence() -> None:
    result = out_result(np.array([0.9, 0.8]), certificates([0.5, 0.5], [0.6, 1.0]), threshold=0.7)
    assert (result.auc, result.guaranteed_auc) == (100, 50)
    assert (result.fpr95, result.guaranteed_fpr95) == (0, 50)
    assert result.certified == 50
    assert result.mean_bound == pytest.approx(0.8)
    assert result.adversarial_auc is None


def test_the_adversarial_measures_are_of_the_attacked_outliers_alone() -> None:
    found = np.array([0.85])
    result = out_result(np.array([0.9, 0.8]), certificates([0.5, 0.5], [0.6, 1.0]), 0.7, found)
    assert (result.attacked, result.adversarial_auc, result.adversarial_fpr95) == (1, 50, 100)


def test_results_come_back_from_the_model_file_as_they_were() -> None:
    out = out_result(np.array([0.9, 0.8]), certificates([0.5], [0.6]), threshold=0.7)
    results = Results("0.3", 2, 50.0, 100.0, 0.85, {"noise": out})
    assert Results.from_json(results.to_json()) == results


def test_what_is_not_known_is_a_dash() -> None:
    assert (percent(None), percent(99.996)) == ("-", "100.00")


def test_95_percent_of_the_held_out_confidences_exceed_the_threshold() -> None:
    confidences = np.random.default_rng(0).permutation(np.arange(1, 101) / 101)
    assert threshold(confidences) == 5 / 101
    assert np.mean(confidences > threshold(confidences)) == 0.95


def test_a_threshold_needs_enough_images() -> None:
    with pytest.raises(ValueError, match="at least 20"):
        threshold(np.linspace(0.5, 1, 19))
