"""The paths of the service: handlers translate and delegate."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from goodcert.serve.http import certify_endpoint, schemas
from goodcert.serve.http.multipart import FORM, PART
from goodcert.serve.http.params import LONGEST_MS, METHODS, PRIORITIES, PRIORITY, RAW, SEARCH, TIMEOUT
from goodcert.serve.http.service import service_of

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
EPSILON = r"^(0*1(\.0*)?|0*\.[0-9]+|0+(\.[0-9]*)?)$"
_CERTIFY: dict[str, Any] = {
    "parameters": [
        {
            "name": "epsilon",
            "in": "query",
            "required": False,
            "description": "Radius of the ball: one plain decimal in [0, 1]; by default the model's.",
            "schema": {"type": "string", "pattern": EPSILON, "maxLength": 64, "example": "0.3"},
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
        {
            "name": "signed",
            "in": "query",
            "required": False,
            "description": "Whether certificates come as compact JSON Web Signatures; so they do, too, where "
            "Accept names application/jose.",
            "schema": {"type": "string", "enum": list(SEARCH)},
        },
        {
            "name": TIMEOUT,
            "in": "header",
            "required": False,
            "description": "Milliseconds that the request may take; at most, and by default, what the service "
            "allows. What is not answered by then is 504, and never reaches the engine if it still waits.",
            "schema": {"type": "integer", "minimum": 1, "maximum": LONGEST_MS},
        },
        {
            "name": PRIORITY,
            "in": "header",
            "required": False,
            "description": "Monitors (the default) go before bulk, which has a share of every batch. A form of "
            "several images is always bulk.",
            "schema": {"type": "string", "enum": list(PRIORITIES)},
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "For a request that may be sent again: its answer is kept for 24 hours, and given to "
            "every request with this key and the same bytes.",
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        },
    ],
    "requestBody": {
        "required": True,
        "description": "The bytes of one image, or a form with any number of parts named `images`.",
        "content": {**dict.fromkeys(RAW, _BINARY), FORM: _FORM},
    },
}
_CERTIFIED = schemas.ok(
    schemas.CertificateBody | schemas.CertificatesBody,
    "A certificate for an image, a list of them for a form",
    signed=True,
)


@router.post("/v1/models/{model}/certify", openapi_extra=_CERTIFY, responses=_CERTIFIED)
async def certify(request: Request, model: str) -> Response:
    """Certify with the newest version of a model."""
    return await _certify(request, model, None)


@router.post("/v1/models/{model}/versions/{version}/certify", openapi_extra=_CERTIFY, responses=_CERTIFIED)
async def certify_with_version(request: Request, model: str, version: str) -> Response:
    """Certify with one version of a model."""
    return await _certify(request, model, version)


@router.get("/v1/models", responses=schemas.ok(schemas.ModelsBody))
async def list_models(request: Request) -> Response:
    """Every model in the folder: served, out of service, or refused with the reason."""
    return _json(schemas.models_body(service_of(request).repository))


@router.get("/v1/models/{model}", responses=schemas.ok(schemas.CardBody))
async def show_model(request: Request, model: str) -> Response:
    """The model card: what it takes, how it was trained, what was measured."""
    return _json(schemas.card_body(service_of(request).repository.versions(model)))


@router.get("/health/live", responses=schemas.ok(schemas.StatusBody))
async def live() -> Response:
    """Whether the process answers."""
    return _json({"status": "live"})


@router.get("/health/started", responses=schemas.ok(schemas.StatusBody))
async def started() -> Response:
    """Whether the start is over: nothing is answered before the models are loaded and checked."""
    return _json({"status": "started"})


@router.get("/health/ready", responses=schemas.ok(schemas.StatusBody))
async def ready(request: Request) -> Response:
    """Whether traffic should come: there is a model, none broke its guarantee, and the process is not ending."""
    service_of(request).require_ready()
    return _json({"status": "ready"})


@router.get("/metrics", responses={200: {"content": {"text/plain": {}}, "description": "Prometheus metrics"}})
async def metrics(request: Request) -> Response:
    """Everything that is counted and timed, in the text format that Prometheus scrapes."""
    text = await service_of(request).exposition.render()
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _certify(request: Request, model: str, version: str | None) -> Response:
    """Documents what `certify_endpoint` answers before the framework is asked."""
    reply = await certify_endpoint.certify(service_of(request), request.scope, request.receive, model, version)
    return Response(reply.content, media_type=reply.media_type)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
