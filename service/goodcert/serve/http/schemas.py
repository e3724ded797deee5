"""What goes over the wire: pydantic models for the documentation, plain dicts for the speed."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from goodcert.serve.certifier.certifier import Certificate
from goodcert.serve.core import timestamps
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.core.version import version
from goodcert.serve.proof.claims import NEWEST
from goodcert.serve.recording.recorder import JOSE
from goodcert.serve.repository.repository import RefusedVersion, Repository, ServedModel

State = Literal["ready", "unsound", "refused", "unloaded"]


class WireModel(BaseModel):
    """What goes over the wire has the fields that are documented, and no others."""

    model_config = ConfigDict(extra="forbid")


class ModelRef(WireModel):
    """Which model answered; `sha256` is of its file."""

    name: str
    version: str
    sha256: str


class ImageInfo(WireModel):
    """What was uploaded; `sha256` is of its bytes."""

    sha256: str
    format: Literal["PNG", "JPEG", "WEBP", "BMP"]
    width: int
    height: int


class Prediction(WireModel):
    """The class that the model chose."""

    index: int
    label: str


class EngineInfo(WireModel):
    """What computed the bound."""

    version: str
    device: str


class CertificateBody(WireModel):
    """No image within `epsilon` in every pixel is given a confidence above `confidence_upper_bound`."""

    format: int = Field(
        1,
        ge=1,
        le=NEWEST,
        description="Which claims there are, and what they mean; one without it is of format 1.",
    )
    id: str
    model: ModelRef
    image: ImageInfo
    epsilon: float = Field(ge=0, le=1, description="Radius of the l-infinity ball, pixels in [0, 1].")
    norm: Literal["linf"]
    scope: Literal["upload", "model_input"] = Field(
        description="Whether the ball is around the pixels of the upload, or only around what the model saw."
    )
    method: Literal["ibp", "crown"] = Field(
        description="What gave the bounds: interval propagation, or linear bounds (the better of both)."
    )
    prediction: Prediction
    confidence: float
    confidence_upper_bound: float
    confidence_lower_bound: float
    possible_labels: list[str] = Field(description="The labels that can win inside the ball.")
    threshold: float
    verdict: Verdict
    certified_radius: float | None = Field(
        description="The largest epsilon whose bound was found at or below the threshold, to four decimals; null "
        "where `radius` was not asked for, and where not even epsilon 0 is certified."
    )
    issued_at: str
    engine: EngineInfo


class ProblemBody(WireModel):
    """RFC 9457; programs should look at `code`."""

    type: str
    status: int
    code: str
    title: str
    detail: str


class PartErrorBody(WireModel):
    """Stands in the place of a part that got no certificate."""

    error: ProblemBody


class SignedBody(WireModel):
    """A certificate as a compact JSON Web Signature, where `signed` was asked for."""

    jws: str


class CertificatesBody(WireModel):
    """One entry per part, in order."""

    certificates: list[CertificateBody | PartErrorBody | SignedBody]


class PageBody(WireModel):
    """Recorded certificates; `next_cursor` asks for those after them, null at the end."""

    certificates: list[CertificateBody]
    next_cursor: str | None


class KeyBody(WireModel):
    """An Ed25519 key (RFC 8037); `kid` is its thumbprint (RFC 7638)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    use: Literal["sig"]
    alg: Literal["Ed25519"]


class KeysBody(WireModel):
    """A JWK set (RFC 7517)."""

    keys: list[KeyBody]


class ModelBody(WireModel):
    """A model in the list; `default` marks the version that answers when none is named."""

    name: str
    version: str
    state: State
    default: bool
    sha256: str | None
    reason: str | None = Field(description="Why it is not served, or not as its file is now.")


class ModelsBody(WireModel):
    """Every model in the folder."""

    models: list[ModelBody]


class InputBody(WireModel):
    """What the model takes: other sizes are resized by the rule, or refused if it is `none`."""

    height: int
    width: int
    color: Literal["grey", "rgb"]
    resize: Literal["none", "area", "bilinear"]


class CardBody(WireModel):
    """The model card, of the version that answers when none is named."""

    name: str
    version: str
    versions: list[str]
    state: State
    sha256: str
    labels: list[str]
    input: InputBody
    epsilon: str
    threshold: float
    method: str
    bound_methods: list[str] = Field(description="What `method` may be in a certify request.")
    recipe: dict[str, Any]
    results: dict[str, Any]
    engine: EngineInfo


class StatusBody(WireModel):
    """The answer of a health check."""

    status: str


Responses = dict[int | str, dict[str, Any]]

PROBLEM: Responses = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": ProblemBody.model_json_schema()}},
    }
}


TOKEN: dict[str, Any] = {JOSE: {"schema": {"type": "string", "description": "A compact JSON Web Signature"}}}


def ok(model: Any, description: str = "Success", signed: bool = False) -> Responses:
    """How a path answers, for the documentation. signed: it may be a JSON Web Signature, too."""
    token = {"content": TOKEN} if signed else {}
    return {200: {"model": model, "description": description, **token}, **PROBLEM}


def certificate_body(certificate: Certificate) -> dict[str, Any]:
    """A certificate as `CertificateBody` has it, keys in its order."""
    model, image, answer = certificate.model, certificate.image, certificate.answer
    labels = model.metadata.labels
    return {
        "format": NEWEST,
        "id": certificate.id,
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "image": {
            "sha256": image.sha256,
            "format": image.format,
            "width": image.width,
            "height": image.height,
        },
        "epsilon": certificate.radius.told,
        "norm": "linf",
        "scope": certificate.scope,
        "method": answer.method,
        "prediction": {"index": answer.index, "label": labels[answer.index]},
        "confidence": answer.confidence,
        "confidence_upper_bound": answer.upper,
        "confidence_lower_bound": answer.lower,
        "possible_labels": [labels[index] for index in answer.possible],
        "threshold": model.metadata.threshold,
        "verdict": certificate.verdict.value,
        "certified_radius": certificate.certified_radius,
        "issued_at": timestamps.text_of(certificate.issued_at),
        "engine": _engine_body(model),
    }


def models_body(repository: Repository) -> dict[str, Any]:
    """Every model, served or refused, as `ModelsBody` has them."""
    served = [_served_body(model, repository) for model in repository.all()]
    return {"models": served + [_refused_body(refused) for refused in repository.refused]}


def card_body(versions: list[ServedModel]) -> dict[str, Any]:
    """The card of the newest of `versions`, as `CardBody` has it."""
    model = versions[0]
    about = model.metadata
    return {
        "name": model.name,
        "version": model.version,
        "versions": [other.version for other in versions],
        "state": _state(model),
        "sha256": model.sha256,
        "labels": list(about.labels),
        "input": {"height": about.height, "width": about.width, "color": about.color, "resize": about.resize},
        "epsilon": about.epsilon,
        "threshold": about.threshold,
        "method": about.method,
        "bound_methods": [*model.engine.methods, "auto"],
        "recipe": dict(about.recipe),
        "results": dict(about.results),
        "engine": _engine_body(model),
    }


def _engine_body(model: ServedModel) -> dict[str, str]:
    return {"version": version(), "device": model.engine.device}


def _state(model: ServedModel) -> State:
    return "ready" if model.sound else "unsound"


def _served_body(model: ServedModel, repository: Repository) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "state": _state(model),
        "default": repository.get(model.name) is model,
        "sha256": model.sha256,
        "reason": None,
    }


def _refused_body(refused: RefusedVersion) -> dict[str, Any]:
    return {
        "name": refused.name,
        "version": refused.version,
        "state": refused.state,
        "default": False,
        "sha256": None,
        "reason": refused.reason,
    }
