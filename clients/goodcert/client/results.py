"""What the service answers, as frozen records: the certificate, its parts, and a model's entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from goodcert.client.errors import PartError, UnreadableAnswer
from goodcert.client.fields import Fields


@dataclass(frozen=True)
class ModelRef:
    """Which model answered; `sha256` is that of its file, in hexadecimal."""

    name: str
    version: str
    sha256: str

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        return cls(fields.text("name"), fields.text("version"), fields.text("sha256"))


@dataclass(frozen=True)
class ImageInfo:
    """What was uploaded: `sha256` of its bytes in hexadecimal, its format ("PNG"), its size in pixels."""

    sha256: str
    format: str
    width: int
    height: int

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        sha256, name = fields.text("sha256"), fields.text("format")
        return cls(sha256, name, fields.integer("width"), fields.integer("height"))


@dataclass(frozen=True)
class Prediction:
    """The class that the model chose: its index, from 0, and its label."""

    index: int
    label: str

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        return cls(fields.integer("index"), fields.text("label"))


@dataclass(frozen=True)
class EngineInfo:
    """What computed the bound: its version and its device, "cpu" or "cuda"."""

    version: str
    device: str

    @classmethod
    def _read(cls, fields: Fields) -> Self:
        return cls(fields.text("version"), fields.text("device"))


@dataclass(frozen=True)
class Certificate:
    """A prediction with a guarantee: no image within `epsilon` is given a confidence above the upper bound.

    `epsilon` and `certified_radius` (None where it was not asked for, or where not even epsilon 0 is certified)
    are l-infinity distances in pixels scaled to [0, 1]. `method` is what gave the bounds, "ibp" or "crown". The
    confidences and the `threshold` are softmax probabilities. `scope` is "upload" where the guarantee covers the
    pixels of the uploaded image, "model_input" where it covers only what the model saw.
    `verdict` is "in_distribution" or "out_of_distribution", either one with "_certified" where nothing
    within epsilon can change it. `possible_labels` are the labels that can win within epsilon.
    `format` says which claims there are; a certificate that does not name it is of format 1.
    `raw` is the whole JSON object, with whatever a newer service adds.
    """

    format: int
    id: str
    model: ModelRef
    image: ImageInfo
    epsilon: float
    norm: str
    scope: str
    method: str
    prediction: Prediction
    confidence: float
    confidence_upper_bound: float
    confidence_lower_bound: float
    possible_labels: tuple[str, ...]
    threshold: float
    verdict: str
    certified_radius: float | None
    issued_at: datetime
    engine: EngineInfo
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, document: object, place: str = "certificate") -> Self:
        """Read the parsed JSON of a certificate; UnreadableAnswer names the field at fault."""
        fields = Fields(document, place)
        return cls(
            format=fields.integer("format") if "format" in fields.raw else 1,
            id=fields.text("id"),
            model=ModelRef._read(fields.nested("model")),
            image=ImageInfo._read(fields.nested("image")),
            epsilon=fields.number("epsilon"),
            norm=fields.text("norm"),
            scope=fields.text("scope"),
            method=fields.text("method"),
            prediction=Prediction._read(fields.nested("prediction")),
            confidence=fields.number("confidence"),
            confidence_upper_bound=fields.number("confidence_upper_bound"),
            confidence_lower_bound=fields.number("confidence_lower_bound"),
            possible_labels=fields.texts("possible_labels"),
            threshold=fields.number("threshold"),
            verdict=fields.text("verdict"),
            certified_radius=fields.number_or_none("certified_radius"),
            issued_at=_moment(fields.text("issued_at"), place),
            engine=EngineInfo._read(fields.nested("engine")),
            raw=fields.raw,
        )


@dataclass(frozen=True)
class ModelInfo:
    """A model that the service holds; everything but its name and version is in `raw`, as it came."""

    name: str
    version: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def from_json(cls, document: object, place: str = "model") -> Self:
        """Read the parsed JSON of a model's entry; UnreadableAnswer where it has no name or version."""
        fields = Fields(document, place)
        return cls(fields.text("name"), fields.text("version"), fields.raw)


def certificates_from_json(document: object, expected: int) -> list[Certificate | PartError]:
    """Read the answer for `expected` images, in order; UnreadableAnswer where their numbers differ."""
    items = Fields(document, "answer").items("certificates")
    if len(items) != expected:
        raise UnreadableAnswer(f"answer: expected {expected} certificates, one an image, got {len(items)}")
    return [_certificate_or_error(item, f"certificates[{index}]") for index, item in enumerate(items)]


def models_from_json(document: object) -> list[ModelInfo]:
    """Read the list of models, in the order of the service."""
    items = Fields(document, "answer").items("models")
    return [ModelInfo.from_json(item, f"models[{index}]") for index, item in enumerate(items)]


def _certificate_or_error(item: object, place: str) -> Certificate | PartError:
    fields = Fields(item, place)
    if "error" in fields.raw:
        return PartError.from_json(fields.raw["error"])
    return Certificate.from_json(item, place)


def _moment(text: str, place: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UnreadableAnswer(f"{place}.issued_at: expected a time in ISO 8601, got {text!r}") from error
