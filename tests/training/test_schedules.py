import pytest

from goodcert.training.schedules import decay, ramp


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 0.0), (0.2, 0.0), (0.3, 0.25), (0.4, 0.5), (0.6, 1.0), (1.0, 1.0)]
)
def test_ramp_is_0_then_linear_then_1(progress: float, expected: float) -> None:
    assert ramp(progress, 0.2, 0.6) == pytest.approx(expected)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.0), (0.49, 0.0), (0.5, 1.0), (1.0, 1.0)])
def test_ramp_of_no_length_is_a_step(progress: float, expected: float) -> None:
    assert ramp(progress, 0.5, 0.5) == expected


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 1.0), (0.49, 1.0), (0.5, 0.2), (0.74, 0.2), (0.75, 0.04), (1.0, 0.04)]
)
def test_decay_multiplies_at_every_milestone(progress: float, expected: float) -> None:
    assert decay(progress, (0.5, 0.75), 0.2) == pytest.approx(expected)


def test_decay_without_milestones_changes_nothing() -> None:
    assert decay(1.0, (), 0.2) == 1
