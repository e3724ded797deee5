"""The lifecycle of the process (serving, leaving, refusing) and its number of requests in flight.

SERVING -> LEAVING (readiness answers 503, requests are still taken) -> REFUSING (new requests are answered 503)
"""

import math
from enum import IntEnum


class LifecyclePhase(IntEnum):
    """Only ever goes up."""

    SERVING = 0
    LEAVING = 1
    REFUSING = 2


class Lifecycle:
    """One per process; on the event loop only, so it needs no lock. in_flight: requests without an answer yet.
    ends: when they are broken off, a time of the loop's clock, infinite while the process is not told to end."""

    def __init__(self) -> None:
        self.phase = LifecyclePhase.SERVING
        self.in_flight = 0
        self.ends = math.inf
