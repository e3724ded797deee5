"""Consistency checks of a certificate against itself and the clock; they need neither its image nor its model."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from goodcert.serve.core.verdict import judge

CLOCKS_DIFFER = timedelta(minutes=5)
"""By how much the clock of the service may be ahead of ours."""

_ROUNDED = 2.0**-20
"""Two bounds of one image are taken for equal that differ by less, relatively: rounding may turn their order."""


def contradictions(body: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """A sentence each, the claim first. body: as `claims.read` gives it. now: with a zone."""
    yield from _of_bounds(body)
    yield from _of_labels(body)
    yield from _of_verdict(body)
    yield from _of_radius(body)
    issued = datetime.fromisoformat(body["issued_at"])
    if issued > now + CLOCKS_DIFFER:
        minutes = CLOCKS_DIFFER // timedelta(minutes=1)
        yield f"issued_at: stated {body['issued_at']}, which is more than {minutes} minutes in the future"


def _of_bounds(body: Mapping[str, Any]) -> Iterator[str]:
    lower, told, upper = (body[f"confidence{end}"] for end in ("_lower_bound", "", "_upper_bound"))
    if told > upper:
        yield f"confidence: stated {told!r}, which is above confidence_upper_bound: stated {upper!r}"
    if told < lower:
        yield f"confidence: stated {told!r}, which is below confidence_lower_bound: stated {lower!r}"


def _of_labels(body: Mapping[str, Any]) -> Iterator[str]:
    label = body["prediction"]["label"]
    if label not in body["possible_labels"]:
        yield f"possible_labels: stated without {label!r}, which is the prediction.label"


def _of_verdict(body: Mapping[str, Any]) -> Iterator[str]:
    lower, upper = body["confidence_lower_bound"], body["confidence_upper_bound"]
    follows = judge(lower, body["confidence"], upper, len(body["possible_labels"]), body["threshold"]).value
    if body["verdict"] != follows:
        yield f"verdict: stated {body['verdict']}, but its own numbers give {follows}"


def _of_radius(body: Mapping[str, Any]) -> Iterator[str]:
    """The largest epsilon that was found certified is none where the image itself is accepted, and otherwise at
    least the one that was asked about just where that is certified."""
    radius, epsilon, threshold = body["certified_radius"], body["epsilon"], body["threshold"]
    if radius is None:
        return
    if body["confidence"] > threshold:
        yield f"certified_radius: stated {radius!r}, but the confidence is above the threshold"
    elif radius < epsilon and body["confidence_upper_bound"] <= threshold:
        yield f"certified_radius: stated {radius!r}, but epsilon, {epsilon!r}, is certified and larger"
    elif radius > epsilon and body["confidence_upper_bound"] > threshold * (1 + _ROUNDED):
        yield f"certified_radius: stated {radius!r}, but epsilon, {epsilon!r}, is smaller and not certified"
