"""The paths of what was said before: published keys, recorded certificates, checkpoints."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from goodcert.serve.core.errors import NoCheckpoint, UnknownCertificate
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.http import schemas
from goodcert.serve.http.params import asks_for_signature
from goodcert.serve.http.service import service_of
from goodcert.serve.ledger.filter import MOST, WHOLE, parse_filter
from goodcert.serve.recording.recorder import JOSE
from goodcert.serve.repository.files import NAME

router = APIRouter()

_FILTERS = {
    "model": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "verdict": {"type": "string", "enum": [verdict.value for verdict in Verdict]},
    "since": {"type": "string", "format": "date-time"},
    "cursor": {"type": "string", "pattern": f"^{WHOLE.pattern}$"},
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
}
_SIGNED = {"name": "signed", "in": "query", "schema": {"type": "string", "enum": ["true", "false"]}}
_PARAMETERS = [{"name": name, "in": "query", "schema": schema} for name, schema in _FILTERS.items()]


@router.get("/v1/keys", responses=schemas.ok(schemas.KeysBody))
async def list_keys(request: Request) -> Response:
    """The keys that sign certificates and checkpoints, as a JWK set (RFC 7517)."""
    return _json(service_of(request).recorder.published())


@router.get(
    "/v1/certificates",
    responses=schemas.ok(schemas.PageBody, "Newest first"),
    openapi_extra={"parameters": _PARAMETERS},
)
async def list_certificates(request: Request) -> Response:
    """Certificates that were recorded, newest first; `next_cursor` asks for the next page."""
    ledger = service_of(request).recorder.ledger
    wanted = parse_filter(request.query_params.multi_items())
    page = await ledger.look(lambda reader: reader.page(wanted))
    following = None if page.following is None else str(page.following)
    return _json({"certificates": [orjson.Fragment(body) for body in page.bodies], "next_cursor": following})


@router.get(
    "/v1/certificates/{id}",
    responses=schemas.ok(schemas.CertificateBody, signed=True),
    openapi_extra={"parameters": [_SIGNED]},
)
async def show_certificate(request: Request, id: str) -> Response:  # noqa: A002  the name on the wire
    """A certificate that was recorded, to the byte; signed, by the key of today, where that is asked for."""
    recorder = service_of(request).recorder
    signed = asks_for_signature(request.query_params.get("signed"), request.headers.get("accept", ""))
    signer = recorder.signer if signed else None
    ledger = recorder.ledger
    body = await ledger.look(lambda reader: reader.certificate(id)) if id.isprintable() else None
    if body is None:
        raise UnknownCertificate
    return Response(body, media_type="application/json") if signer is None else jose(signer.certificate(body))


@router.get("/v1/ledger/checkpoint", responses={200: {"content": schemas.TOKEN}, **schemas.PROBLEM})
async def show_checkpoint(request: Request) -> Response:
    """The newest signed checkpoint, for keeping elsewhere."""
    found = await service_of(request).recorder.ledger.look(lambda reader: reader.checkpoint())
    if found is None:
        raise NoCheckpoint
    return jose(found)


def jose(token: str) -> Response:
    return Response(token, media_type=JOSE)


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
