"""Only what did no work is tried again, later each time, and never for long."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodcert.client import errors
from goodcert.client.retry import RetryPolicy, retry_after_seconds

NOW = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)
NOBODY = errors.ConnectionFailed("nobody")


def _overloaded(retry_after: float | None) -> errors.Overloaded:
    return errors.Overloaded("queue_full", 503, "Full", "", retry_after)


@pytest.mark.parametrize("error", [NOBODY, _overloaded(None), errors.Overloaded("slow_down", 429, "Slow")])
def test_refusals_and_failed_connections_are_tried_again(error: errors.GoodcertError):
    assert RetryPolicy().wait_seconds(error, 0, 0.0, 1.0) == 0.1


@pytest.mark.parametrize(
    "error",
    [
        errors.Timeout("slow"),
        errors.UnreadableAnswer("broken"),
        errors.ServiceError("engine_unsound", 500, "Unsound"),
        errors.BadRequest("empty_body", 400, "Empty"),
        errors.Denied("key_missing", 401, "Key"),
        errors.DeadlinePassed("late", 504, "Late"),
    ],
)
def test_nothing_else_is_tried_again(error: errors.GoodcertError):
    assert RetryPolicy().wait_seconds(error, 0, 0.0, 0.0) is None


def test_waits_double_up_to_the_longest():
    policy = RetryPolicy(retries=10_000)
    waits = [policy.wait_seconds(NOBODY, attempt, 0.0, 1.0) for attempt in (0, 1, 2, 4, 5, 9_999)]
    assert waits == [0.1, 0.2, 0.4, 1.6, 2.0, 2.0]


def test_jitter_takes_up_to_half_of_the_wait():
    waits = [RetryPolicy().wait_seconds(NOBODY, 2, 0.0, jitter) for jitter in (0.0, 0.5, 1.0)]
    assert waits == pytest.approx([0.2, 0.3, 0.4])


def test_attempts_are_bounded():
    policy = RetryPolicy(retries=2)
    waits = [policy.wait_seconds(NOBODY, attempt, 0.0, 1.0) for attempt in range(3)]
    assert waits == [0.1, 0.2, None]
    assert RetryPolicy(retries=0).wait_seconds(NOBODY, 0, 0.0, 1.0) is None


def test_the_wait_that_the_service_asks_for_is_kept_and_spread():
    assert RetryPolicy().wait_seconds(_overloaded(5.0), 0, 0.0, 0.0) == pytest.approx(5.05)
    assert RetryPolicy().wait_seconds(_overloaded(5.0), 0, 0.0, 1.0) == pytest.approx(5.1)


@pytest.mark.parametrize(("asked", "waited"), [(31.0, 0.0), (5.0, 25.0), (float("inf"), 0.0)])
def test_a_wait_that_does_not_fit_is_refused_and_not_cut_short(asked: float, waited: float):
    assert RetryPolicy().wait_seconds(_overloaded(asked), 0, waited, 0.0) is None


@given(st.integers(0, 50), st.floats(0, 1), st.lists(st.none() | st.floats(0, allow_infinity=True), min_size=60))
def test_all_waits_together_stay_within_the_total(retries: int, jitter: float, asked: list[float | None]):
    policy, waited, attempts = RetryPolicy(retries=retries), 0.0, 0
    for attempt, seconds in enumerate(asked):
        wait = policy.wait_seconds(_overloaded(seconds), attempt, waited, jitter)
        if wait is None:
            break
        assert wait > 0.0
        waited, attempts = waited + wait, attempts + 1
    assert waited <= policy.total_seconds
    assert attempts <= retries


def test_a_negative_number_of_retries_is_refused():
    with pytest.raises(ValueError, match="retries is -1, expected 0"):
        RetryPolicy(retries=-1)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("Thu, 29 Feb 2024 12:00:30 GMT", 30.0),
        ("Thu, 29 Feb 2024 12:00:30 -0000", 30.0),
        ("Thu, 29 Feb 2024 13:00:30 +0100", 30.0),
        ("Thu, 29 Feb 2024 11:59:00 GMT", 0.0),
        ("9" * 5000, float("inf")),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float):
    assert retry_after_seconds(header, NOW) == seconds


def test_a_part_of_a_second_before_the_date_counts_as_a_whole_one():
    assert retry_after_seconds("Thu, 29 Feb 2024 12:00:30 GMT", NOW + timedelta(milliseconds=1)) == 30.0


@pytest.mark.parametrize("header", [None, "", "soon", "-5", "1.5", "\u0661", "Thu, 32 Feb 2024 12:00:30 GMT"])
def test_a_retry_after_that_says_nothing_is_none(header: str | None):
    assert retry_after_seconds(header, NOW) is None


@given(st.text() | st.from_regex(r"\A[A-Z][a-z]{2}, \d+ Feb \d+ \d+:\d+:\d+ [+-]?\d{0,20}\Z"))
def test_no_header_of_any_text_breaks_the_client(header: str):
    seconds = retry_after_seconds(header, NOW)
    assert seconds is None or seconds >= 0.0
