"""How an error looks on the wire: one table from class to status, code and text (RFC 9457)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from goodcert.serve.core import errors

MEDIA_TYPE = "application/problem+json"


class Problem(NamedTuple):
    """What a caller is told: `code` is stable and for programs, `title` and `detail` are for people."""

    status: int
    code: str
    title: str
    detail: str


BAD_REQUEST = Problem(400, "bad_request", "Bad request", "The request could not be understood.")
NOT_FOUND = Problem(404, "not_found", "Not found", "There is nothing at this path; /docs lists what there is.")
METHOD_NOT_ALLOWED = Problem(
    405,
    "method_not_allowed",
    "Method not allowed",
    "The path exists, but not for this HTTP method; see Allow.",
)
INVALID_REQUEST = Problem(422, "invalid_request", "Invalid request", "A path or query value has the wrong form.")
INTERNAL_ERROR = Problem(500, "internal_error", "Internal error", "The fault is ours; it has been logged.")

TABLE: dict[type[errors.ServeError], Problem] = {
    errors.BadFraming: Problem(
        400,
        "bad_framing",
        "Bad framing",
        "Send either Content-Length, as one number, or Transfer-Encoding, not both.",
    ),
    errors.BodyBroken: Problem(400, "body_broken", "Body broken off", "The body ended before it was complete."),
    errors.EmptyBody: Problem(
        400, "empty_body", "Empty body", "Send the bytes of an image, or a form with parts named images."
    ),
    errors.MalformedMultipart: Problem(
        400,
        "malformed_multipart",
        "Malformed form",
        "The body is not complete multipart/form-data with its boundary.",
    ),
    errors.NoImages: Problem(400, "no_images", "No images", "Send at least one part named images."),
    errors.KeyMissing: Problem(
        401, "key_missing", "API key missing", "Send Authorization: Bearer KEY, or X-API-Key: KEY."
    ),
    errors.KeyWrong: Problem(403, "key_wrong", "API key refused", "The key is not one that this service accepts."),
    errors.KeyExpired: Problem(
        403, "key_expired", "API key expired", "The key is no longer accepted; ask the operator for a new one."
    ),
    errors.ScopeMissing: Problem(
        403, "scope_missing", "Scope missing", "The key is accepted, but not for this; its scopes do not cover it."
    ),
    errors.UnknownModel: Problem(
        404,
        "unknown_model",
        "Unknown model",
        "No such model and version is served; GET /v1/models lists them.",
    ),
    errors.LedgerDisabled: Problem(
        404, "ledger_disabled", "Ledger disabled", "This service keeps no ledger; its setting is ledger_url."
    ),
    errors.NoCheckpoint: Problem(
        404,
        "no_checkpoint",
        "No checkpoint",
        "The ledger has no signed checkpoint: there is no signing key, or too little was recorded yet.",
    ),
    errors.UnknownCertificate: Problem(
        404,
        "unknown_certificate",
        "Unknown certificate",
        "The ledger has no certificate of this id: none was recorded, or it was pruned.",
    ),
    errors.SigningDisabled: Problem(
        406,
        "signing_disabled",
        "Signing disabled",
        "This service has no signing key; ask for application/json, without signed=true.",
    ),
    errors.BodyTooSlow: Problem(
        408, "body_too_slow", "Body too slow", "The body did not arrive within the time a request may take."
    ),
    errors.HeadersTooSlow: Problem(
        408, "headers_too_slow", "Headers too slow", "The headers did not arrive within the time they may take."
    ),
    errors.BodyTooLarge: Problem(
        413,
        "body_too_large",
        "Body too large",
        "The body has more bytes than one request may have; send fewer images.",
    ),
    errors.TooManyPixels: Problem(
        413,
        "too_many_pixels",
        "Too many pixels",
        "The image has more pixels than are decoded; send a smaller one.",
    ),
    errors.MediaTypeRefused: Problem(
        415,
        "unsupported_media_type",
        "Unsupported media type",
        "Send image/png, image/jpeg, image/webp, image/bmp, application/octet-stream or multipart/form-data.",
    ),
    errors.NotAnImage: Problem(
        415,
        "not_an_image",
        "Not an image",
        "The bytes do not decode as one complete PNG, JPEG, WEBP or BMP image.",
    ),
    errors.SeveralFrames: Problem(
        415, "several_frames", "Several frames", "The file holds more than one image; send a single one."
    ),
    errors.UnknownPart: Problem(
        422,
        "unknown_part",
        "Unknown part",
        "Every part of the form must be named images; options go in the query.",
    ),
    errors.WrongSize: Problem(
        422, "wrong_size", "Wrong size", "The model takes images of its own size only; its card gives it."
    ),
    errors.BadEpsilon: Problem(
        422, "bad_epsilon", "Bad epsilon", "Give epsilon as one plain decimal in [0, 1], such as 0.3."
    ),
    errors.BadPriority: Problem(
        422, "bad_priority", "Bad priority", "Give X-Priority as monitor or bulk, or leave it out."
    ),
    errors.BadFilter: Problem(
        422,
        "bad_filter",
        "Bad filter",
        "The filters are model, verdict, since (a time such as 2026-01-31T12:00:00Z), limit (1 to 1000) and "
        "cursor (as the page before gave it), each at most once.",
    ),
    errors.BadIdempotencyKey: Problem(
        422,
        "bad_idempotency_key",
        "Bad idempotency key",
        "Give Idempotency-Key once, as 1 to 255 printable ASCII characters.",
    ),
    errors.IdempotencyMismatch: Problem(
        422,
        "idempotency_mismatch",
        "Idempotency mismatch",
        "This Idempotency-Key was used for another request; use a new key for a new request.",
    ),
    errors.IdempotencyUnavailable: Problem(
        422,
        "idempotency_unavailable",
        "Idempotency unavailable",
        "Answers are kept in the ledger, which this service does not keep; leave Idempotency-Key away.",
    ),
    errors.BadSigned: Problem(422, "bad_signed", "Bad signed", "Give signed as true or false."),
    errors.BadRadius: Problem(422, "bad_radius", "Bad radius", "Give radius as true or false."),
    errors.BadTimeout: Problem(
        422,
        "bad_timeout",
        "Bad timeout",
        "Give the time that the request may take as a positive whole number of milliseconds.",
    ),
    errors.CrownUnavailable: Problem(
        422,
        "crown_unavailable",
        "CROWN unavailable",
        "This model has no linear bounds, as its card says; use ibp, or auto, which takes what there is.",
    ),
    errors.MethodNotOffered: Problem(
        422, "method_not_offered", "Method not offered", "The bound methods are ibp, crown and auto."
    ),
    errors.RepeatedParameter: Problem(
        422, "repeated_parameter", "Repeated parameter", "Give every query parameter at most once."
    ),
    errors.UnknownParameter: Problem(
        422,
        "unknown_parameter",
        "Unknown parameter",
        "The query parameters are epsilon, method, radius and signed.",
    ),
    errors.CallerGone: Problem(
        499, "caller_gone", "Caller gone", "The caller hung up before the answer; only metrics and logs see this."
    ),
    errors.KeyBusy: Problem(
        429,
        "key_busy",
        "Key busy",
        "This key has as many requests under way as it may; see Retry-After.",
    ),
    errors.RateLimited: Problem(
        429, "rate_limited", "Rate limited", "This key asks more often than it may; see Retry-After."
    ),
    errors.HeadersTooLarge: Problem(
        431, "headers_too_large", "Headers too large", "The request line and the headers have too many bytes."
    ),
    errors.AdminDisabled: Problem(
        403,
        "admin_disabled",
        "Administration disabled",
        "Models may not be loaded or unloaded here; the setting model_admin=true allows it.",
    ),
    errors.BadInference: Problem(
        400,
        "bad_inference",
        "Bad inference request",
        "The inference request breaks the protocol; see the message.",
    ),
    errors.EncodingRefused: Problem(
        415, "encoding_refused", "Content-Encoding refused", "Send the body as it is, or as one gzip or deflate."
    ),
    errors.NotSupported: Problem(
        400, "not_supported", "Not supported", "This extension of the Open Inference Protocol is not supported."
    ),
    errors.EngineFailed: Problem(
        500,
        "engine_failed",
        "Engine failed",
        "The bound engine could not answer for this image; it has been logged.",
    ),
    errors.EngineUnsound: Problem(
        500,
        "engine_unsound",
        "Engine unsound",
        "The engine contradicted itself, so there is no certificate; the model is taken out of service.",
    ),
    errors.LedgerUnavailable: Problem(
        503,
        "ledger_unavailable",
        "Ledger unavailable",
        "The answer could not be recorded, so it is not given; try again after Retry-After.",
    ),
    errors.NotEverywhere: Problem(
        503,
        "not_everywhere",
        "Not everywhere",
        "Not every process of the service confirmed the change of its models; ask again.",
    ),
    errors.NotReady: Problem(
        503, "not_ready", "Not ready", "No model serves, or one broke its guarantee; see GET /v1/models."
    ),
    errors.UnsoundModel: Problem(
        503,
        "model_unsound",
        "Model out of service",
        "The model broke its guarantee and waits for being loaded again.",
    ),
    errors.BodiesFull: Problem(
        503, "bodies_full", "Too much at once", "The bodies under way fill the memory for them; see Retry-After."
    ),
    errors.QueueFull: Problem(
        503, "queue_full", "Queue full", "Too much is waiting; try again after Retry-After."
    ),
    errors.TooManyConnections: Problem(
        503, "too_many_connections", "Too many connections", "Every connection is busy; see Retry-After."
    ),
    errors.ShuttingDown: Problem(
        503, "shutting_down", "Shutting down", "The service finishes what it has; try again in a moment."
    ),
    errors.DeadlineExceeded: Problem(
        504,
        "deadline_exceeded",
        "Deadline exceeded",
        "The answer was not ready within the time a request may take.",
    ),
}
FRAMEWORK = (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, INVALID_REQUEST, INTERNAL_ERROR)
_BY_STATUS = {problem.status: problem for problem in FRAMEWORK}


def problem_of(error: Exception) -> Problem:
    """The row of the error's class, or of its nearest ancestor that has one."""
    if isinstance(error, RequestValidationError):
        return INVALID_REQUEST
    if isinstance(error, HTTPException):
        return _BY_STATUS.get(error.status_code, BAD_REQUEST if error.status_code < 500 else INTERNAL_ERROR)
    rows = (TABLE[cls] for cls in type(error).__mro__ if cls in TABLE)
    return next(rows, INTERNAL_ERROR)


def body_of(problem: Problem) -> dict[str, Any]:
    """The JSON object of RFC 9457, with `code` as its one extension."""
    return {"type": f"urn:problem-type:goodcert:{problem.code}", **problem._asdict()}


def headers_of(error: Exception) -> dict[str, str]:
    """What belongs beside the body: when to come back, how to authenticate, which methods there are."""
    match error:
        case errors.RetryLater():
            return {"Retry-After": str(error.retry_after_seconds)}
        case errors.ShuttingDown() | errors.NotReady() | errors.NotEverywhere() | errors.LedgerUnavailable():
            return {"Retry-After": "5"}
        case errors.BadFraming():
            return {"Connection": "close"}  # where the next request begins is unknown
        case errors.KeyMissing():
            return {"WWW-Authenticate": "Bearer"}
        case HTTPException(status_code=405):
            return dict(error.headers or {})
    return {}


class Answers:
    """Turns errors into responses and tells `count` the code of each one."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count

    def body(self, error: Exception) -> dict[str, Any]:
        """The problem as a JSON object, for a place inside a larger answer."""
        problem = problem_of(error)
        self._count(problem.code)
        return body_of(problem)

    def response(self, error: Exception) -> Response:
        body = self.body(error)
        return Response(orjson.dumps(body), body["status"], headers_of(error), MEDIA_TYPE)

    def install(self, app: FastAPI) -> None:
        """Answer every error of `app`, the framework's own included."""

        async def answer(_: Request, error: Exception) -> Response:
            return self.response(error)

        for cls in (errors.ServeError, HTTPException, RequestValidationError, Exception):
            app.add_exception_handler(cls, answer)


def table_markdown() -> str:
    """The table of error codes for the documentation."""
    rows = sorted({*TABLE.values(), *FRAMEWORK})
    lines = [f"| `{row.code}` | {row.status} | {row.title} | {row.detail} |" for row in rows]
    return "\n".join(["| Code | Status | Title | What it tells |", "|---|---|---|---|", *lines]) + "\n"
