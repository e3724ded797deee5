"""Evaluates trigger rules over certificates. Sliding windows belong to one process, and start empty."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from goodcert.serve.core.event import Event, event
from goodcert.serve.core.verdict import ACCEPTED
from goodcert.serve.settings.trigger_rules import Trigger

Body = Mapping[str, Any]
"""A certificate, as `schemas.CertificateBody` has it."""


class Watch:
    """clock: seconds that only grow."""

    def __init__(self, triggers: Sequence[Trigger], clock: Callable[[], float] = monotonic) -> None:
        self._rules = [_ShareRule(t, clock) if t.watches_window else _ImageRule(t) for t in triggers]

    def raised(self, bodies: Sequence[Body], images: Sequence[bytes]) -> list[Event]:
        """images: the upload of each certificate."""
        return [
            found
            for body, image in zip(bodies, images, strict=True)
            for rule in self._rules
            if (found := rule.look(body, image))
        ]


class _ImageRule:
    """Raises for every certificate that meets all conditions."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger

    def look(self, body: Body, image: bytes) -> Event | None:
        if not matches(self._trigger, body):
            return None
        kept = image if self._trigger.image else None
        return event("certificate.matched", self._trigger.name, {"certificate": body}, kept)


def matches(trigger: Trigger, body: Body) -> bool:
    """Whether all conditions on one image hold; above means above."""
    bounds = (
        (trigger.confidence_above, body["confidence"]),
        (trigger.confidence_upper_bound_above, body["confidence_upper_bound"]),
    )
    return (
        trigger.model in (None, body["model"]["name"])
        and (not trigger.verdicts or body["verdict"] in trigger.verdicts)
        and all(least is None or value > least for least, value in bounds)
    )


class _ShareRule:
    """Raises when the share of rejected images in a full window is too large; the next window starts then.

    So a share that stays too large is told again after every window: whoever missed it once hears of it.
    """

    def __init__(self, trigger: Trigger, clock: Callable[[], float]) -> None:
        self._trigger, self._clock = trigger, clock
        self._began = clock()
        self._seen: deque[tuple[float, bool]] = deque()
        self._rejected = 0

    def look(self, body: Body, image: bytes) -> Event | None:
        if not matches(self._trigger, body):
            return None
        now = self._clock()
        self._add(now, body["verdict"] not in ACCEPTED)
        images, rejected, most = len(self._seen), self._rejected, self._trigger.rejected_share_above
        if most is None or not self._is_full(now) or rejected <= most * images:
            return None
        self._seen.clear()
        self._began, self._rejected = now, 0
        window = {"images": images, "rejected": rejected}
        kept = image if self._trigger.image else None
        return event("window.exceeded", self._trigger.name, {"window": window, "certificate": body}, kept)

    def _add(self, now: float, is_rejected: bool) -> None:
        self._seen.append((now, is_rejected))
        self._rejected += is_rejected
        while self._is_over(now):
            self._rejected -= self._seen.popleft()[1]

    def _is_over(self, now: float) -> bool:
        """Whether the oldest image has left the window."""
        images, seconds = self._trigger.window_images, self._trigger.window_seconds
        if images is not None:
            return len(self._seen) > images
        return seconds is not None and self._seen[0][0] <= now - seconds

    def _is_full(self, now: float) -> bool:
        images, seconds = self._trigger.window_images, self._trigger.window_seconds
        if images is not None:
            return len(self._seen) == images
        return (
            seconds is not None and now - self._began >= seconds and len(self._seen) >= self._trigger.window_least
        )
