"""Equations 5 and 6 by hand, and what the bounds are whatever the margins."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from goodcert.bounds import confidence
from goodcert.bounds.confidence import LogitDifferences, confidence_lower_bound, confidence_upper_bound
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import EXACT, FLOAT32

WEIGHT = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
BIAS = torch.tensor([1.0, 0.0], dtype=torch.float64)
# x_1 in [0, 2], x_2 in [1, 3]: mu = (1, 2), r = (1, 1)
BOX = Interval(torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([[2.0, 3.0]], dtype=torch.float64))
TIGHT = 2.0**-39


def margins(values: list[list[float]]) -> NDArray[np.float64]:
    return np.array([values], dtype=np.float64)


def test_equation_5_by_hand() -> None:
    # f_0 - f_1 = -2 x_1 + 3 x_2 + 1: at most 0 + 9 + 1; f_1 - f_0: at most 4 - 3 - 1
    assert LogitDifferences(WEIGHT, BIAS, EXACT)(BOX).tolist() == [[[0, 10], [0, 0]]]


def test_equation_5_does_not_pay_twice_for_what_logits_share() -> None:
    shared = torch.tensor([[1.0, 100.0], [2.0, 100.0]], dtype=torch.float64)
    assert LogitDifferences(shared, torch.zeros(2).double(), EXACT)(BOX).tolist() == [[[0, 0], [2, 0]]]


def test_the_margin_for_the_deployed_logits_is_that_of_the_theorem() -> None:
    exact, widened = LogitDifferences(WEIGHT, BIAS, EXACT)(BOX), LogitDifferences(WEIGHT, BIAS, FLOAT32)(BOX)
    # (|W_0| + |W_1|) |x| + |b_0| + |b_1| = 4 * 2 + 3 * 3 + 1 with n = 3
    expected = 18 * FLOAT32.gamma(3)
    added = (widened - exact)[0]
    assert added.diagonal().tolist() == [0, 0]
    assert expected < added[0, 1].item() < expected * 1.00001
    assert expected < added[1, 0].item() < expected * 1.00001


def test_many_classes_in_chunks_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(23, 5, generator=generator, dtype=torch.float64)
    bias = torch.randn(23, generator=generator, dtype=torch.float64)
    box = Interval(-torch.ones(3, 5).double(), torch.rand(3, 5, generator=generator).double())
    at_once = LogitDifferences(weight, bias, FLOAT32)(box)
    monkeypatch.setattr(confidence, "_CHUNK", 50)
    torch.testing.assert_close(LogitDifferences(weight, bias, FLOAT32)(box), at_once, rtol=1e-12, atol=0)


@pytest.mark.parametrize("classes", [1, 1025])
def test_too_few_or_too_many_classes_are_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=f"got {classes} classes"):
        LogitDifferences(torch.zeros(classes, 1).double(), torch.zeros(classes).double(), EXACT)


def test_equation_6_by_hand() -> None:
    # exp(-ub): class 0 at most 1 / (1 + 1/3), class 1 at most 1 / (1 + 1/2)
    got = confidence_upper_bound(margins([[0, math.log(3)], [math.log(2), 0]])).item()
    assert 3 / 4 <= got <= 3 / 4 * (1 + TIGHT)


def test_lower_bound_by_hand() -> None:
    # f_0 is at least ln 2 above f_1: at least 1 / (1 + 1/2)
    got = confidence_lower_bound(margins([[0, math.log(3)], [-math.log(2), 0]])).item()
    assert 2 / 3 * (1 - TIGHT) <= got <= 2 / 3


def test_lower_bound_is_one_over_k_where_nothing_is_known() -> None:
    assert confidence_lower_bound(margins([[0, 5, 5], [5, 0, 5], [5, 5, 0]])).item() == 1 / 3


def test_exponentials_that_add_up_to_infinity_guarantee_nothing() -> None:
    margins = np.full((1, 3, 3), 709.5) * (1 - np.eye(3))  # exp(709.5) is finite, twice it is not
    assert confidence_lower_bound(margins) == [1 / 3]


def test_equal_logits_that_are_known_exactly_give_one_over_k() -> None:
    assert confidence_upper_bound(np.zeros((1, 4, 4))).item() == pytest.approx(0.25, rel=TIGHT)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_margins_that_are_no_numbers_guarantee_nothing(value: float) -> None:
    for unknown in (
        margins([[0, value], [value, 0]]),
        margins([[0, value], [1, 0]]),
        margins([[0, 1], [value, 0]]),
    ):
        assert confidence_upper_bound(unknown).item() == 1
        assert confidence_lower_bound(unknown).item() <= 1 / (1 + math.exp(-1))
    assert confidence_lower_bound(margins([[0, value], [value, 0]])).item() == 0.5


matrices = arrays(np.float64, (5, 5), elements=st.floats(-800, 800))


@given(values=matrices, k=st.integers(0, 4), j=st.integers(0, 4), more=st.floats(0, 100))
def test_bounds_lie_in_1_over_k_to_1_and_grow_with_the_margins(
    values: np.ndarray, k: int, j: int, more: float
) -> None:
    values = np.maximum(values, -values.T)  # as of some real point
    np.fill_diagonal(values, 0)
    wider = values.copy()
    wider[k, j] += more * (k != j)
    (upper, lower), (wider_upper, wider_lower) = (
        (confidence_upper_bound(m).item(), confidence_lower_bound(m).item()) for m in (values[None], wider[None])
    )
    assert 0.2 <= lower <= 1
    assert 0.2 <= upper <= 1
    assert upper <= wider_upper * (1 + 1e-14)
    assert wider_lower <= lower * (1 + 1e-14)


@given(logits=arrays(np.float32, 5, elements=st.floats(-200, 200, width=32)))
def test_margins_of_one_point_enclose_its_confidence(logits: np.ndarray) -> None:
    z = logits.astype(np.float64)
    conf = 1 / np.exp(z - z.max()).sum()
    point = (z[:, None] - z[None, :])[None]
    assert confidence_lower_bound(point).item() <= conf <= confidence_upper_bound(point).item()
