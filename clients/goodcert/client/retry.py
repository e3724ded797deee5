"""When to ask again, and how long to wait before: pure functions of what happened so far."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from goodcert.client.errors import ConnectionFailed, GoodcertError, Overloaded


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to try.

    Only what did no work is tried again: a refusal with 429 or 503, and a connection that failed before an
    answer began. `retries` attempts may follow the first one; all waits together stay in `total_seconds`.
    """

    retries: int = 3
    first_seconds: float = 0.1
    longest_seconds: float = 2.0
    total_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError(f"retries is {self.retries}, expected 0 (ask once) or more")

    def wait_seconds(self, error: GoodcertError, attempt: int, waited: float, jitter: float) -> float | None:
        """Seconds to wait after `attempt` (0 is the first) failed with `error`; None to give up.

        `waited` is the sum of the waits so far in seconds, `jitter` is random in [0, 1] so that callers who
        were refused together do not return together. The wait that the service asks for is never cut short:
        where it does not fit into the total, the caller gets the error at once.
        """
        if attempt >= self.retries or not isinstance(error, Overloaded | ConnectionFailed):
            return None
        asked = error.retry_after if isinstance(error, Overloaded) else None
        wait = (asked or 0.0) + self._backoff(attempt) * (1.0 + jitter) / 2.0
        return wait if waited + wait <= self.total_seconds else None

    def _backoff(self, attempt: int) -> float:
        doublings = min(attempt, 60)  # far above the longest wait, far below what a float can hold
        return min(self.first_seconds * 2.0**doublings, self.longest_seconds)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """The `Retry-After` header in seconds from `now` (with a zone), at least 0; None where it says none.

    The header is a whole number of seconds or an HTTP date (RFC 9110, 10.2.3).
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": in UTC, of no known place
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, float(math.ceil((moment - now).total_seconds())))
