"""When an item will be done, and how long a batch takes. Pure: numbers in, numbers out, no clock.

An item that would come too late, going by how long batches took lately, is refused: to queue it would only take
from those that can be answered. Where more is asked than the engine can do, all answers would else come too late.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from goodcert.serve.batching.lanes import BULK_SHARE, Priority, QueueLimits

# Weight of the newest batch in the moving average of seconds per batch.
_NEWEST = 0.2
# The average begins at the quickest of so many: the first may be one that a start or a pause held up.
_FIRST = 5
# A batch counts as so many times the average at most: after one pause of the machine callers would else be refused
# for seconds, and a service that has become slower is known after some batches all the same.
_SLOWEST = 5


@dataclass(frozen=True)
class BatchTime:
    """How long a batch takes, going by the `seen` ones; 0 before the first."""

    seconds: float = 0.0
    seen: int = 0

    def after(self, seconds: float) -> "BatchTime":
        """What is known after a batch that took so long."""
        old = self.seconds or seconds
        if self.seen < _FIRST:
            return BatchTime(min(old, seconds), self.seen + 1)
        return BatchTime(old + _NEWEST * (min(seconds, _SLOWEST * old) - old), self.seen)


def seconds_until_done(
    limits: QueueLimits,
    priority: Priority,
    count: int,
    others: int,
    running: Iterable[float],
    batch_seconds: float,
) -> float:
    """Until so many items of the priority are done, where so many of the other one wait: after the batches that
    run and those that they fill, each in the thread that is free first.

    running: for how many seconds each batch under way has run. batch_seconds: how long a batch takes.
    """
    left = sorted(max(batch_seconds - elapsed, 0.0) for elapsed in running)
    before, thread = divmod(batches(limits, priority, count, others) - 1, limits.at_once)
    free = limits.at_once - len(left)
    return (left[thread - free] if thread >= free else 0.0) + (before + 1) * batch_seconds


def at_most(count: int, batch_seconds: float) -> float:
    """No less than `seconds_until_done` of items of whatever priority, where so many of both are done with them:
    as if all were bulk, of which a batch may hold a quarter of an item. It is told at a glance, and nearly always
    enough; what that saves is measured with the place of the middleware (server/app.py)."""
    return (BULK_SHARE * count + 2) * batch_seconds


def batches(limits: QueueLimits, priority: Priority, count: int, others: int) -> int:
    """After how many batches so many items of the priority are done, of the other one so many waiting, too: they
    share the batches until those others are done, too. Bulk may have less alone: no fractions of a place."""
    alone = _alone(limits, priority, count)
    if not others:
        return alone
    monitors = limits.max_batch - limits.bulk_share
    own, other = (limits.bulk_share, monitors) if priority == "bulk" else (monitors, limits.bulk_share)
    return min(max(math.ceil(count / own), alone), math.ceil(others / other) + alone)


def _alone(limits: QueueLimits, priority: Priority, count: int) -> int:
    """Where no others wait; batches that bulk leaves to monitors count as well, though none comes."""
    if priority == "monitor":
        return math.ceil(count / limits.max_batch)
    return math.ceil(count * limits.at_once / (limits.bulk_batch * limits.bulk_at_once))
