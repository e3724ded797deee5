"""Refusals, no faster than the service can afford.

A caller that ignores Retry-After asks again the moment it is refused. A hundred of these would leave no time for
those who wait for an answer, so refusals beyond a rate are told late. To fewer they are told at once: a balancer
wants to try elsewhere.
"""

import math

INTERVAL_SECONDS = 0.002
"""At a tenth of a millisecond of processor time each, a twentieth of one processor."""
LONGEST_SECONDS = 1.0
"""As long as Retry-After asks for at least."""


class RefusalThrottle:
    """Times by any one clock, in seconds."""

    def __init__(self) -> None:
        self._next = -math.inf

    def delay(self, now: float) -> float:
        """How long the refusal made now is to be held back."""
        delay = min(max(self._next - now, 0.0), LONGEST_SECONDS)
        self._next = now + delay + INTERVAL_SECONDS
        return delay
