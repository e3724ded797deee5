"""How long a request may take: as long as its caller says, and never longer than the service allows."""

from goodcert.serve.core.errors import BadTimeout

HEADER = "X-Request-Timeout-Ms"
LONGEST_MS = 999_999_999
"""Eleven days: more digits are no time that anybody means."""


def parse_timeout(text: bytes | None, most_ms: int) -> float:
    """Seconds from the header's milliseconds, `most_ms` where there is none. Raises BadTimeout."""
    if text is None:
        return most_ms / 1000
    if not (text.isdigit() and len(text) <= len(str(LONGEST_MS))):  # of bytes: ASCII digits only
        raise BadTimeout
    return timeout_seconds(int(text), most_ms)


def timeout_seconds(asked_ms: float, most_ms: int) -> float:
    """Seconds of a request whose caller asks for `asked_ms`; more than `most_ms` is cut. Raises BadTimeout."""
    if not asked_ms > 0:  # also refuses NaN
        raise BadTimeout
    return min(asked_ms, most_ms) / 1000
