"""Recomputes a certificate without the service, from its image and its model, by the method that it names, and
compares it with that and with what the file itself gives.

A value that no sound evaluation can give is a fault, whoever computed it. A value that is only looser than here is
a fault if this very version is said to have computed it, and a remark if another one is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from goodcert import engine
from goodcert.artifact import Artifact, Metadata, read
from goodcert.bounds.ball import Ball
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.engine import deployed
from goodcert.engine.bound_limits import BoundLimits, Pair
from goodcert.engine.certificates import Certificates
from goodcert.images.decode import Decoded, decode, open_image
from goodcert.images.preprocess import balls
from goodcert.serve.core.version import version
from goodcert.serve.settings.settings import MOST_PIXELS

_FEW_ULPS = 2.0**-38
"""Of exponentials and their sums in float64, relatively; the bounds hold 2^-40 of it for themselves."""


class Span(NamedTuple):
    """Every honest evaluation is in [low, high]; computed is the one made here."""

    low: float
    computed: float
    high: float


@dataclass(frozen=True)
class Recomputation:
    """upper: of the confidence over the ball. faults: what the certificate states otherwise, a sentence each.
    remarks: what is otherwise, but refutes nothing. looks: how often the file itself was run."""

    upper: Span
    faults: tuple[str, ...]
    remarks: tuple[str, ...]
    looks: int


def recompute(body: Mapping[str, Any], upload: bytes, model: Path) -> Recomputation:
    """Hold `body`, as `claims.read` gives it, against what is computed here, on the CPU.

    Raises ArtifactError, EngineError, ImageRefused, Unsupported or an error of ONNX Runtime where that cannot be,
    and ValueError for another model file.
    """
    artifact = read(model)
    if body["model"]["sha256"] != artifact.sha256:
        raise ValueError("the model file is not the one that was asked: it has another SHA-256")
    image = decode(upload, open_image(upload, MOST_PIXELS))
    return _Again(artifact, image, body).held_against(model.read_bytes())


class _Again:
    """One certificate, and one model that bounds its image at any epsilon."""

    def __init__(self, artifact: Artifact, image: Decoded, body: Mapping[str, Any]) -> None:
        self._metadata, self._image, self._body = artifact.metadata, image, body
        self._around = balls(image, artifact.metadata)
        self._engine = engine.compile(artifact.model)
        self._limits = BoundLimits(artifact.model)

    def held_against(self, file: bytes) -> Recomputation:
        """file: the bytes of the model."""
        body, prepared = self._body, self._around(self._body["epsilon"])
        ball = prepared.alone()
        certificates = self._engine.certify_balls(ball, body["method"])
        pair = self._limits.around(certificates, ball)
        upper, lower = _upper(pair, certificates), _lower(pair, certificates)
        there = self._engine.certify_balls(Ball(*[ball.point] * 3))
        own = float(there.confidence_lower_bound[0]), float(there.confidence_upper_bound[0])
        points = np.concatenate(ball)
        told = list(deployed.look(file, points))
        faults = [
            *_about_facts(body, self._image, self._metadata, prepared.scope),
            *self._about_prediction(there),
            *_about_confidence(body["confidence"], own, told[0]),
            *_about_file(body, [seen for row in told for seen in row]),
            *_unsound(body, lower, upper),
            *self._about_labels(pair),
            *self._about_radius(),
        ]
        looser = [*_looser(body, lower, upper), *self._more_labels(pair)]
        same = body["engine"]["version"] == version()
        return Recomputation(upper, tuple(faults + looser * same), tuple(looser * (not same)), sum(map(len, told)))

    def _about_prediction(self, there: Certificates) -> Iterator[str]:
        """Any class is one that can win at the point itself."""
        stated, possible, labels = self._body["prediction"], there.possible()[0], self._metadata.labels
        index = stated["index"]
        if not (index < len(possible) and possible[index]):
            yield f"prediction.index: stated class {index}, but it is {int(there.index[0])}"
        elif stated["label"] != labels[index]:
            yield f"prediction.label: stated {stated['label']!r}, but it is {labels[index]!r}"

    def _about_labels(self, pair: Pair) -> Iterator[str]:
        stated, fewest = set(self._body["possible_labels"]), self._possible(pair.lowest)
        if not fewest <= stated <= set(self._metadata.labels):
            yield f"possible_labels: stated {sorted(stated)}, but they are at least {sorted(fewest)}"

    def _more_labels(self, pair: Pair) -> Iterator[str]:
        stated, most = set(self._body["possible_labels"]), self._possible(pair.highest)
        if not stated <= most:
            yield f"possible_labels: stated {sorted(stated)}, more than any evaluation gives, {sorted(most)}"

    def _possible(self, margins: NDArray[np.float64]) -> set[str]:
        return {self._metadata.labels[k] for k in np.flatnonzero(~(margins[0] < 0).any(axis=1))}

    def _about_radius(self) -> Iterator[str]:
        radius = self._body["certified_radius"]
        if radius is None:
            return
        ball = self._around(radius).alone()
        method: engine.Method = self._body["method"] if radius == self._body["epsilon"] else "ibp"
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


def _about_facts(body: Mapping[str, Any], image: Decoded, metadata: Metadata, scope: str) -> Iterator[str]:
    facts = {
        "image": {
            "sha256": image.sha256, "format": image.format, "width": image.width, "height": image.height
        },
        "scope": scope, "threshold": metadata.threshold,
    }  # fmt: skip
    for name, fact in facts.items():
        if body[name] != fact:
            yield f"{name}: stated {body[name]!r}, but it is {fact!r}"


def _about_confidence(
    stated: float, own: tuple[float, float], seen: Sequence[deployed.Deployment]
) -> Iterator[str]:
    """own: the bounds of the ball that is the one point: of any evaluation in float32. seen: the file, there."""
    low, high = own
    if not low <= stated <= high:
        yield f"confidence: stated {stated!r}, but every evaluation is in [{low!r}, {high!r}]"
    for level, found, error in seen:
        if not low * (1 - error) <= found <= high * (1 + error):
            yield (
                f"confidence: stated {stated!r}, but at optimisation level {level} ONNX Runtime gives {found!r} "
                f"for the file, outside [{low!r}, {high!r}], where every evaluation should be"
            )


def _about_file(body: Mapping[str, Any], seen: Sequence[deployed.Deployment]) -> Iterator[str]:
    """seen: of the file, anywhere in the ball."""
    lower, upper = body["confidence_lower_bound"], body["confidence_upper_bound"]
    for level, found, error in seen:
        for name, bound, holds in (
            ("lower", lower, found >= lower * (1 - error)),
            ("upper", upper, found <= upper * (1 + error)),
        ):
            if not holds:
                yield (
                    f"confidence_{name}_bound: stated {bound!r}, but at optimisation level {level} ONNX Runtime "
                    f"gives {found!r} for the file and a point of the ball: the statement is refuted"
                )


def _unsound(body: Mapping[str, Any], lower: Span, upper: Span) -> Iterator[str]:
    if (stated := body["confidence_upper_bound"]) < upper.low:
        yield (
            f"confidence_upper_bound: stated {stated!r}, but no sound bound by this method is below "
            f"{upper.low!r}: the statement is refuted"
        )
    if (stated := body["confidence_lower_bound"]) > lower.high:
        yield (
            f"confidence_lower_bound: stated {stated!r}, but no sound bound by this method is above "
            f"{lower.high!r}: the statement is refuted"
        )


def _looser(body: Mapping[str, Any], lower: Span, upper: Span) -> Iterator[str]:
    if (stated := body["confidence_upper_bound"]) > upper.high:
        yield f"confidence_upper_bound: stated {stated!r}, looser than any evaluation, which gives {upper.high!r}"
    if (stated := body["confidence_lower_bound"]) < lower.low:
        yield f"confidence_lower_bound: stated {stated!r}, looser than any evaluation, which gives {lower.low!r}"
