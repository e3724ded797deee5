"""How long a request may take."""

import pytest

from goodcert.serve.core.errors import BadTimeout
from goodcert.serve.http.params import parse_timeout, timeout_seconds


def test_without_a_header_the_service_decides():
    assert parse_timeout(None, 10_000) == 10


def test_a_caller_gets_the_time_it_asks_for():
    assert parse_timeout(b"250", 10_000) == 0.25


def test_nobody_gets_more_than_the_service_allows():
    assert parse_timeout(b"999999999", 10_000) == 10
    assert timeout_seconds(1e300, 500) == 0.5


def test_a_fraction_of_a_millisecond_can_be_asked_for_by_other_protocols():
    assert timeout_seconds(0.5, 10_000) == 0.0005


@pytest.mark.parametrize("text", [b"", b"0", b"-1", b"1.5", b"1e3", b"1_0", b" 5", b"soon", b"1" * 10, b"\xb2"])
def test_anything_but_a_positive_whole_number_is_refused(text):
    with pytest.raises(BadTimeout):
        parse_timeout(text, 10_000)


@pytest.mark.parametrize("asked", [0, -1, float("nan")])
def test_a_time_that_is_not_positive_is_refused(asked):
    with pytest.raises(BadTimeout):
        timeout_seconds(asked, 10_000)
