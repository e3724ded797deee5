"""A certificate computed anew, without the service: from its image and its model, by the method it names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from goodcert import engine
from goodcert.artifact import Artifact, read
from goodcert.bounds.ball import Ball
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.engine.bound_limits import BoundLimits, Pair
from goodcert.engine.certificates import Certificates
from goodcert.serve.core.verdict import judge
from goodcert.serve.images.decode import Decoded, decode, open_image
from goodcert.serve.images.preprocess import balls
from goodcert.serve.settings.settings import MOST_PIXELS

_FEW_ULPS = 2.0**-38
"""Of exponentials and their sums in float64, relatively; the bounds hold 2^-40 of it for themselves."""


class Span(NamedTuple):
    """Every honest evaluation is in [low, high]; computed is the one made here."""

    low: float
    computed: float
    high: float

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Recomputation:
    """upper: of the confidence over the ball. faults: what the certificate states otherwise, a sentence each."""

    upper: Span
    faults: tuple[str, ...]


def recompute(body: Mapping[str, Any], upload: bytes, model: Path) -> Recomputation:
    """Hold `body`, as `schemas.CertificateBody` has it, against what is computed here, on the CPU.

    Raises ArtifactError, EngineError, ImageRefused or Unsupported where that cannot be, and KeyError, TypeError or
    ValueError where the body is none.
    """
    artifact = read(model)
    if body["model"]["sha256"] != artifact.sha256:
        raise ValueError("the model file is not the one that was asked: it has another SHA-256")
    image = decode(upload, open_image(upload, MOST_PIXELS))
    again = _Again(artifact, image, body["method"])
    upper, faults = again.claims(body)
    return Recomputation(upper, tuple(faults))


class _Again:
    """One image and one model, bounded by one method at any epsilon."""

    def __init__(self, artifact: Artifact, image: Decoded, method: engine.Method) -> None:
        self._metadata, self._image, self._method = artifact.metadata, image, method
        self._around = balls(image, artifact.metadata)
        self._engine = engine.compile(artifact.model)
        self._limits = BoundLimits(artifact.model)

    def claims(self, body: Mapping[str, Any]) -> tuple[Span, list[str]]:
        prepared = self._around(body["epsilon"])
        ball = prepared.alone()
        certificates = self._engine.certify_balls(ball, self._method)
        pair = self._limits.around(certificates, ball)
        upper = _upper(pair, certificates)
        faults = [
            *self._about_facts(body, prepared.scope),
            *self._about_confidence(body, ball.point, int(certificates.index[0])),
            *_about_upper(body["confidence_upper_bound"], upper),
            *_about_lower(body["confidence_lower_bound"], _lower(pair, certificates)),
            *self._about_labels(body, pair),
            *self._about_verdict(body),
            *self._about_radius(body),
        ]
        return upper, faults

    def _about_facts(self, body: Mapping[str, Any], scope: str) -> Iterator[str]:
        image = self._image
        facts = {
            "image": {
                "sha256": image.sha256, "format": image.format, "width": image.width, "height": image.height
            },
            "norm": "linf", "scope": scope, "threshold": self._metadata.threshold,
        }  # fmt: skip
        for name, fact in facts.items():
            if body[name] != fact:
                yield f"{name}: stated {body[name]!r}, but it is {fact!r}"

    def _about_confidence(self, body: Mapping[str, Any], point: Any, index: int) -> Iterator[str]:
        """Any float32 evaluation is within the bounds of the ball that is the one point."""
        there = self._engine.certify_balls(Ball(point, point, point))
        low, high = there.confidence_lower_bound[0], there.confidence_upper_bound[0]
        if not body["confidence_lower_bound"] <= body["confidence"] <= body["confidence_upper_bound"]:
            yield "confidence_upper_bound: stated with a confidence that is not between the bounds"
        if not low <= body["confidence"] <= high:
            yield f"confidence: stated {body['confidence']!r}, but every evaluation is in [{low!r}, {high!r}]"
        stated = body["prediction"]["index"]
        if not (0 <= stated < there.possible().shape[1] and there.possible()[0, stated]):
            yield f"prediction: stated class {stated}, but it is {index}"
        elif body["prediction"]["label"] != (label := self._metadata.labels[stated]):
            yield f"prediction: stated {body['prediction']['label']!r}, but it is {label!r}"

    def _about_labels(self, body: Mapping[str, Any], pair: Pair) -> Iterator[str]:
        fewest, most = ({self._metadata.labels[k] for k in _possible(margins)} for margins in pair)
        stated = set(body["possible_labels"])
        if not fewest <= stated <= most:
            yield f"possible_labels: stated {sorted(stated)}, but they are {sorted(most)}"

    def _about_verdict(self, body: Mapping[str, Any]) -> Iterator[str]:
        lower, upper = body["confidence_lower_bound"], body["confidence_upper_bound"]
        possible, threshold = len(body["possible_labels"]), self._metadata.threshold
        follows = judge(lower, body["confidence"], upper, possible, threshold).value
        if body["verdict"] != follows:
            yield f"verdict: stated {body['verdict']}, but its own numbers give {follows}"

    def _about_radius(self, body: Mapping[str, Any]) -> Iterator[str]:
        radius = body["certified_radius"]
        if radius is None:
            return
        ball = self._around(radius).alone()
        method: engine.Method = self._method if radius == body["epsilon"] else "ibp"
        certificates = self._engine.certify_balls(ball, method)
        low = _upper(self._limits.around(certificates, ball), certificates).low
        if low > self._metadata.threshold:
            yield f"certified_radius: stated {radius!r}, but there the bound is at least {low!r}"


def _upper(pair: Pair, computed: Certificates) -> Span:
    low, high = (float(confidence_upper_bound(margins)[0]) for margins in pair)
    return Span(low * (1 - _FEW_ULPS), float(computed.confidence_upper_bound[0]), min(high * (1 + _FEW_ULPS), 1.0))


def _lower(pair: Pair, computed: Certificates) -> Span:
    high, low = (float(confidence_lower_bound(margins)[0]) for margins in pair)
    least = 1 / computed.margins.shape[2]
    return Span(
        max(low * (1 - _FEW_ULPS), least), float(computed.confidence_lower_bound[0]), high * (1 + _FEW_ULPS)
    )


def _possible(margins: Any) -> list[int]:
    return [int(k) for k in np.flatnonzero(~(margins[0] < 0).any(axis=1))]


def _about_upper(stated: float, span: Span) -> Iterator[str]:
    if stated < span.low:
        yield (
            f"confidence_upper_bound: stated {stated!r}, but no sound bound by this method is below {span.low!r}: "
            "the statement is refuted"
        )
    elif not span.holds(stated):
        yield f"confidence_upper_bound: stated {stated!r}, looser than any evaluation, which gives {span.high!r}"


def _about_lower(stated: float, span: Span) -> Iterator[str]:
    if stated > span.high:
        yield (
            f"confidence_lower_bound: stated {stated!r}, but no sound bound by this method is above "
            f"{span.high!r}: the statement is refuted"
        )
    elif not span.holds(stated):
        yield f"confidence_lower_bound: stated {stated!r}, looser than any evaluation, which gives {span.low!r}"
