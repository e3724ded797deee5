"""When refusals are told; times are numbers."""

import pytest

from goodcert.serve.certifier.refusal_throttle import INTERVAL_SECONDS, LONGEST_SECONDS, RefusalThrottle


def test_the_first_refusals_are_told_at_once():
    pace = RefusalThrottle()
    assert [pace.delay(now) for now in (0.0, 1.0, 2.0)] == [0, 0, 0]


def test_refusals_made_together_are_told_one_interval_apart():
    pace = RefusalThrottle()
    assert [pace.delay(5.0) for _ in range(4)] == pytest.approx([i * INTERVAL_SECONDS for i in range(4)])


def test_a_pause_is_not_saved_up_for_later():
    pace = RefusalThrottle()
    pace.delay(0.0)
    assert [pace.delay(100.0), pace.delay(100.0)] == pytest.approx([0, INTERVAL_SECONDS])


def test_nobody_is_held_back_longer_than_they_are_told_to_stay_away():
    pace = RefusalThrottle()
    assert max(pace.delay(0.0) for _ in range(10_000)) == LONGEST_SECONDS
