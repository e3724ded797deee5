"""The paths of the service: handlers translate and delegate."""

import asyncio
import math
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from goodcert.engine.radius import WIDTH
from goodcert.serve import schemas
from goodcert.serve.certify import Question
from goodcert.serve.errors import NotReady, ServeError
from goodcert.serve.forms import FORM, PART, RAW, images_of, media_type, read_body
from goodcert.serve.query import METHODS, SEARCH, parse_query
from goodcert.serve.repository import ServedModel
from goodcert.serve.service import Service, service_of
from goodcert.serve.settings import Settings

router = APIRouter()

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": [PART],
        "properties": {PART: {"type": "array", "minItems": 1, "items": _BINARY["schema"]}},
        "additionalProperties": False,
    }
}
_CERTIFY: dict[str, Any] = {
    "parameters": [
        {
            "name": "epsilon",
            "in": "query",
            "required": False,
            "description": "Radius of the ball: one plain decimal in [0, 1]; by default the model's.",
            "schema": {"type": "string", "pattern": r"^([0-9]+\.?[0-9]*|\.[0-9]+)$", "example": "0.3"},
        },
        {
            "name": "method",
            "in": "query",
            "required": False,
            "description": "How the bound is computed: by interval propagation (ibp, the default), by linear "
            "bounds, tighter and far slower (crown), or by them where ibp leaves a rejected image uncertified "
            "(auto).",
            "schema": {"type": "string", "enum": list(METHODS)},
        },
        {
            "name": "radius",
            "in": "query",
            "required": False,
            "description": "Whether to search the largest certified epsilon (by ibp), too.",
            "schema": {"type": "string", "enum": list(SEARCH)},
        },
    ],
    "requestBody": {
        "required": True,
        "description": "The bytes of one image, or a form with any number of parts named `images`.",
        "content": {**dict.fromkeys(RAW, _BINARY), FORM: _FORM},
    },
}
Responses = dict[int | str, dict[str, Any]]

_PROBLEM: Responses = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": schemas.ProblemBody.model_json_schema()}},
    }
}


def _ok(model: Any, description: str = "Success") -> Responses:
    """How a path answers, for the documentation."""
    return {200: {"model": model, "description": description}, **_PROBLEM}


_CERTIFIED = _ok(
    schemas.CertificateBody | schemas.CertificatesBody, "A certificate for an image, a list of them for a form"
)


@router.post("/v1/models/{model}/certify", openapi_extra=_CERTIFY, responses=_CERTIFIED)
async def certify(request: Request, model: str) -> Response:
    """Certify with the newest version of a model."""
    return await _certify(request, model, None)


@router.post("/v1/models/{model}/versions/{version}/certify", openapi_extra=_CERTIFY, responses=_CERTIFIED)
async def certify_with_version(request: Request, model: str, version: str) -> Response:
    """Certify with one version of a model."""
    return await _certify(request, model, version)


@router.get("/v1/models", responses=_ok(schemas.ModelsBody))
async def list_models(request: Request) -> Response:
    """Every model in the folder: served, out of service, or refused with the reason."""
    return _json(schemas.models_body(service_of(request).repository))


@router.get("/v1/models/{model}", responses=_ok(schemas.CardBody))
async def show_model(request: Request, model: str) -> Response:
    """The model card: what it takes, how it was trained, what was measured."""
    return _json(schemas.card_body(service_of(request).repository.versions(model)))


@router.get("/health/live", responses=_ok(schemas.StatusBody))
async def live() -> Response:
    """Whether the process answers."""
    return _json({"status": "live"})


@router.get("/health/ready", responses=_ok(schemas.StatusBody))
async def ready(request: Request) -> Response:
    """Whether traffic should come: there is a model, and none broke its guarantee."""
    if not service_of(request).repository.ready():
        raise NotReady
    return _json({"status": "ready"})


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}, "description": "Prometheus metrics"}})
async def metrics(request: Request) -> Response:
    """What Prometheus scrapes."""
    text = generate_latest(service_of(request).metrics.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _certify(request: Request, name: str, version: str | None) -> Response:
    """Everything that can be refused is refused before the body is read."""
    service = service_of(request)
    deadline = asyncio.get_running_loop().time() + service.settings.request_timeout_ms / 1000
    model = service.repository.get(name, version)
    model.require_sound()
    question = parse_query(request.query_params.multi_items(), model.metadata.epsilon)
    model.require_method(question.method)
    content_type = request.headers.get("content-type", "")
    is_form = media_type(content_type) == FORM
    body = await read_body(request, deadline)
    if not is_form:
        return _json(schemas.certificate_body(await service.certifier.certify(body, model, question, deadline)))
    images = images_of(body, content_type)
    return _json({"certificates": await _certify_each(service, images, model, question, deadline)})


async def _certify_each(
    service: Service, images: list[bytes], model: ServedModel, question: Question, deadline: float
) -> list[dict[str, Any]]:
    """One entry per image, in order; a queue's worth at most at once, so that a form never crowds itself out."""
    at_once = _at_once(service.settings, model, balls=WIDTH if question.search else 1)

    async def one(image: bytes) -> dict[str, Any]:
        try:
            return schemas.certificate_body(await service.certifier.certify(image, model, question, deadline))
        except ServeError as error:
            return {"error": service.answers.body(error)}

    entries: list[dict[str, Any]] = []
    for start in range(0, len(images), at_once):
        entries += await asyncio.gather(*map(one, images[start : start + at_once]))
    return entries


def _at_once(settings: Settings, model: ServedModel, balls: int) -> int:
    ball_bytes = 3 * 4 * math.prod(model.engine.input_shape)  # a ball is three float32 arrays
    most = min(settings.max_batch, settings.max_queue_items, settings.max_queue_bytes // ball_bytes)
    return max(1, most // balls)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
