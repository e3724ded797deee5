"""The losses of every method by hand."""

import math

import pytest
import torch

from goodcert.training.losses import (
    binary_inside,
    binary_outside,
    entropy_to_uniform,
    evidence,
    good,
    good_at_point,
    good_quantile,
    log_confidence,
    objective,
    silence,
)


def margins(*largest: float) -> torch.Tensor:
    """(N, 2, 2) with these as the largest differences."""
    return torch.tensor([[[0.0, d], [-1.0, 0.0]] for d in largest])


def test_equation_8_is_log_of_1_plus_half_the_square_of_the_largest_difference() -> None:
    torch.testing.assert_close(good(margins(2, 4, 0)), torch.tensor([math.log(3), math.log(9), 0.0]))


def test_equation_8_takes_the_largest_of_all_pairs() -> None:
    values = torch.tensor([[[0.0, 1.0, 2.0], [-3.0, 0.0, 0.5], [4.0, 1.0, 0.0]]])
    assert good(values).item() == pytest.approx(math.log(9))


def test_at_a_point_the_difference_is_that_of_the_extreme_logits() -> None:
    logits = torch.tensor([[1.0, 5.0, 3.0], [2.0, 2.0, 2.0]])
    torch.testing.assert_close(good_at_point(logits), torch.tensor([math.log(9), 0.0]))
    differences = logits[:, :, None] - logits[:, None, :]
    torch.testing.assert_close(good(differences), good_at_point(logits))


def test_equation_10_bounds_the_easiest_share_and_looks_at_the_point_for_the_rest() -> None:
    bounds = margins(4, 2, 8, 6)
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0], [0.0, 0.0]])
    # the two lowest bounds are 2 and 4; at the points of the others the logits differ by 0 and 2
    expected = sorted([math.log(3), math.log(9), 0.0, math.log(3)])
    assert sorted(good_quantile(bounds, logits, 0.5).tolist()) == pytest.approx(expected)


@pytest.mark.parametrize(("quantile", "expected"), [(0.0, good_at_point), (1.0, None)])
def test_the_quantiles_0_and_1_are_the_pure_losses(quantile: float, expected: object) -> None:
    bounds, logits = margins(1, 3), torch.tensor([[0.0, 1.0], [0.0, 0.5]])
    pure = good_at_point(logits) if expected else good(bounds)
    assert sorted(good_quantile(bounds, logits, quantile).tolist()) == pytest.approx(sorted(pure.tolist()))


@pytest.mark.parametrize(
    ("quantile", "count", "bounded"), [(0.29, 100, 29), (0.57, 100, 57), (0.9, 10, 9), (0.5, 3, 1)]
)
def test_the_share_is_rounded_down_from_its_decimal(quantile: float, count: int, bounded: int) -> None:
    losses = good_quantile(margins(*[2.0] * count), torch.zeros(count, 2), quantile)
    assert (losses > 0).sum() == bounded


def test_equation_9_is_the_mean_cross_entropy_plus_kappa_times_the_mean_outlier_loss() -> None:
    assert objective(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 6.0]), 0.3).item() == pytest.approx(3.5)


LOGITS = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log()
"""Softmax 3/4 and 1/4, then 1/2 twice."""


def test_ceda_is_the_log_of_the_largest_probability() -> None:
    torch.testing.assert_close(log_confidence(LOGITS), torch.tensor([0.75, 0.5]).log())


def test_outlier_exposure_is_the_cross_entropy_to_the_uniform_distribution() -> None:
    expected = [-(math.log(3 / 4) + math.log(1 / 4)) / 2, math.log(2)]
    assert entropy_to_uniform(LOGITS).tolist() == pytest.approx(expected)


def test_prood_takes_the_discriminator_for_a_binary_classifier() -> None:
    # log-odds log 4: p(in) = 4/5, p(out) = 1/5
    odds = torch.tensor([4.0]).log()
    assert binary_inside(odds).item() == pytest.approx(-math.log(4 / 5))
    assert binary_outside(odds).item() == pytest.approx(-math.log(1 / 5))


def test_the_evidence_of_ccu_is_minus_the_log_of_the_mean_of_both_densities() -> None:
    assert evidence(torch.tensor([6.0]).log(), torch.tensor([2.0]).log()).item() == pytest.approx(-math.log(4))


def test_every_loss_has_finite_gradients_far_out_and_at_zero() -> None:
    for scale in (0.0, 1e6):
        values = (margins(1, 2) * scale).requires_grad_()
        (gradient,) = torch.autograd.grad(good(values).sum(), values)
        assert gradient.isfinite().all()


def test_silence_is_what_the_loudest_unit_of_a_layer_lacks_of_one() -> None:
    values = torch.tensor([[-2.0, -0.5], [0.25, -3.0], [1.0, 0.0], [4.0, 9.0]])
    assert silence(values, torch.tensor([[-5.0, -1.0]])).tolist() == [1.5, 0.75, 0.0, 0.0]


def test_what_a_unit_gives_for_outliers_too_breaks_no_silence() -> None:
    outliers = torch.tensor([[3.0, -1.0], [1.0, 1.0]])  # on average (2, 0.5) comes out
    assert silence(torch.tensor([[2.0, -1.0], [2.25, 0.0], [2.0, 1.5]]), outliers).tolist() == [1.0, 0.75, 0.0]


def test_silence_has_a_gradient_where_the_rectifiers_have_none() -> None:
    values, outliers = (
        torch.tensor([[-2.0, -0.5]], requires_grad=True),
        torch.tensor([[1.0, 0.25]], requires_grad=True),
    )
    (values.relu().sum() + silence(values, outliers).sum()).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.0, -1.0]]
    assert outliers.grad is None  # which have a loss of their own
