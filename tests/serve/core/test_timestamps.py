"""Times as texts that sort."""

import pytest

from goodcert.serve.core.timestamps import parse


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-01-31", "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000000Z"),
        ("2026-01-31T12:00:00.5+02:00", "2026-01-31T10:00:00.500000Z"),
        ("0900-01-01", "0900-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_told_in_one_form(text, told):
    assert parse(text) == told


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "0001-01-01T00:00:00+02:00"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)
