import torch

from goodcert.bounds.interval import Interval

BOX = Interval(torch.tensor([-3.0, 1.0]), torch.tensor([1.0, 2.0]))


def test_centre_is_the_middle_of_the_box() -> None:
    assert BOX.centre.tolist() == [-1.0, 1.5]


def test_radius_reaches_the_further_end_from_any_centre() -> None:
    assert BOX.radius(BOX.centre).tolist() == [2.0, 0.5]
    assert BOX.radius(torch.tensor([0.0, 1.75])).tolist() == [3.0, 0.75]


def test_magnitude_is_the_largest_absolute_value() -> None:
    assert BOX.magnitude.tolist() == [3.0, 2.0]
