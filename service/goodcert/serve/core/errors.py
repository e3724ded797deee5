"""The errors that the service answers with, beside those of images: a class for each, with its code, title and
detail.

`http.problems` maps them to HTTP statuses; docs/errors.md is made of both. They are in one file because one error
has several places that raise it (`body_too_slow`: connections, HTTP, the Open Inference Protocol), and one page.
"""

from collections.abc import Iterator

from goodcert.images.errors import CodedError


class ServeError(CodedError):
    """Anything else than a refused image that the service answers with a problem."""


class KeyRefused(ServeError):
    """The caller may not ask."""


class KeyExpired(KeyRefused):
    code = "key_expired"
    title = "API key expired"
    detail = "The key is no longer accepted; ask the operator for a new one."


class KeyMissing(KeyRefused):
    code = "key_missing"
    title = "API key missing"
    detail = "Send Authorization: Bearer KEY, or X-API-Key: KEY."


class KeyWrong(KeyRefused):
    code = "key_wrong"
    title = "API key refused"
    detail = "The key is not one that this service accepts."


class ScopeMissing(KeyRefused):
    code = "scope_missing"
    detail = "The key is accepted, but not for this; its scopes do not cover it."


class BodyRefused(ServeError):
    """The body cannot be taken as one or more images."""


class BadFraming(BodyRefused):
    code = "bad_framing"
    detail = "Send either Content-Length, as one number, or Transfer-Encoding, not both."


class BodyBroken(BodyRefused):
    code = "body_broken"
    title = "Body broken off"
    detail = "The body ended before it was complete."


class BodyTooLarge(BodyRefused):
    code = "body_too_large"
    detail = "The body has more bytes than one request may have; send fewer images."


class BodyTooSlow(BodyRefused):
    code = "body_too_slow"
    detail = "The body did not arrive within the time a request may take."


class EmptyBody(BodyRefused):
    code = "empty_body"
    detail = "Send the bytes of an image, or a form with parts named images."


class HeadersTooLarge(BodyRefused):
    code = "headers_too_large"
    detail = "The request line and the headers have too many bytes."


class HeadersTooSlow(BodyRefused):
    code = "headers_too_slow"
    detail = "The headers did not arrive within the time they may take."


class MediaTypeRefused(BodyRefused):
    code = "unsupported_media_type"
    detail = "Send image/png, image/jpeg, image/webp, image/bmp, application/octet-stream or multipart/form-data."


class MultipartRefused(BodyRefused):
    """The form cannot be taken apart into images."""


class MalformedMultipart(MultipartRefused):
    code = "malformed_multipart"
    title = "Malformed form"
    detail = "The body is not complete multipart/form-data with its boundary."


class NoImages(MultipartRefused):
    code = "no_images"
    detail = "Send at least one part named images."


class UnknownPart(MultipartRefused):
    code = "unknown_part"
    detail = "Every part of the form must be named images; options go in the query."


class QueryRefused(ServeError):
    """The query, or a header beside it, asks for something that cannot be."""


class BadEpsilon(QueryRefused):
    code = "bad_epsilon"
    detail = "Give epsilon as one plain decimal in [0, 1], such as 0.3."


class BadFilter(QueryRefused):
    code = "bad_filter"
    detail = (
        "The filters are model, verdict, since (a time such as 2026-01-31T12:00:00Z), limit (1 to 1000) and "
        "cursor (as the page before gave it), each at most once."
    )


class BadPriority(QueryRefused):
    code = "bad_priority"
    detail = "Give X-Priority as monitor or bulk, or leave it out."


class BadRadius(QueryRefused):
    code = "bad_radius"
    detail = "Give radius as true or false."


class BadSigned(QueryRefused):
    code = "bad_signed"
    detail = "Give signed as true or false."


class BadTimeout(QueryRefused):
    code = "bad_timeout"
    detail = "Give the time that the request may take as a positive whole number of milliseconds."


class CrownUnavailable(QueryRefused):
    code = "crown_unavailable"
    title = "CROWN unavailable"
    detail = "This model has no linear bounds, as its card says; use ibp, or auto, which takes what there is."


class MethodNotOffered(QueryRefused):
    code = "method_not_offered"
    detail = "The bound methods are ibp, crown and auto."


class RepeatedParameter(QueryRefused):
    code = "repeated_parameter"
    detail = "Give every query parameter at most once."


class UnknownParameter(QueryRefused):
    code = "unknown_parameter"
    detail = "The query parameters are epsilon, method, radius and signed."


class IdempotencyRefused(ServeError):
    """The request cannot be answered once and for all."""


class BadIdempotencyKey(IdempotencyRefused):
    code = "bad_idempotency_key"
    detail = "Give Idempotency-Key once, as 1 to 255 printable ASCII characters."


class IdempotencyMismatch(IdempotencyRefused):
    code = "idempotency_mismatch"
    detail = "This Idempotency-Key was used for another request; use a new key for a new request."


class IdempotencyUnavailable(IdempotencyRefused):
    code = "idempotency_unavailable"
    detail = "Answers are kept in the ledger, which this service does not keep; leave Idempotency-Key away."


class LedgerFault(ServeError):
    """The ledger does not give or take what is asked."""


class LedgerDisabled(LedgerFault):
    code = "ledger_disabled"
    detail = "This service keeps no ledger; its setting is ledger_url."


class LedgerUnavailable(LedgerFault):
    code = "ledger_unavailable"
    detail = "The answer could not be recorded, so it is not given; try again after Retry-After."


class NoCheckpoint(LedgerFault):
    code = "no_checkpoint"
    detail = "The ledger has no signed checkpoint: there is no signing key, or too little was recorded yet."


class UnknownCertificate(LedgerFault):
    code = "unknown_certificate"
    detail = "The ledger has no certificate of this id: none was recorded, or it was pruned."


class ProtocolRefused(ServeError):
    """The Open Inference Protocol has no such request, or this service no answer to it. Unlike those of all other
    errors, the message is for the caller; where there is none, the problem's own text is told."""


class AdminDisabled(ProtocolRefused):
    code = "admin_disabled"
    title = "Administration disabled"
    detail = "Models may not be loaded or unloaded here; the setting model_admin=true allows it."


class BadInference(ProtocolRefused):
    code = "bad_inference"
    title = "Bad inference request"
    detail = "The inference request breaks the protocol; see the message."


class EncodingRefused(ProtocolRefused):
    code = "encoding_refused"
    title = "Content-Encoding refused"
    detail = "Send the body as it is, or as one gzip or deflate."


class NotSupported(ProtocolRefused):
    code = "not_supported"
    detail = "This extension of the Open Inference Protocol is not supported."


class SigningDisabled(ServeError):
    code = "signing_disabled"
    detail = "This service has no signing key; ask for application/json, without signed=true."


class ModelUnavailable(ServeError):
    """There is no model to answer."""


class NotEverywhere(ModelUnavailable):
    code = "not_everywhere"
    detail = "Not every process of the service confirmed the change of its models; ask again."


class NotReady(ModelUnavailable):
    code = "not_ready"
    detail = "No model serves, or one broke its guarantee; see GET /v1/models."


class UnknownModel(ModelUnavailable):
    code = "unknown_model"
    detail = "No such model and version is served; GET /v1/models lists them."


class UnsoundModel(ModelUnavailable):
    code = "model_unsound"
    title = "Model out of service"
    detail = "The model broke its guarantee and waits for being loaded again."


class CallerGone(ServeError):
    code = "caller_gone"
    detail = "The caller hung up before the answer; only metrics and logs see this."


class Overload(ServeError):
    """The service is up but cannot answer this one in time."""


class DeadlineExceeded(Overload):
    code = "deadline_exceeded"
    detail = "The answer was not ready within the time a request may take."


class RetryLater(Overload):
    """Too much was asked; `retry_after_seconds` is when to ask again."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"expected to have room in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class BodiesFull(RetryLater):
    code = "bodies_full"
    title = "Too much at once"
    detail = "The bodies under way fill the memory for them; see Retry-After."


class KeyBusy(RetryLater):
    code = "key_busy"
    detail = "This key has as many requests under way as it may; see Retry-After."


class QueueFull(RetryLater):
    code = "queue_full"
    detail = "Too much is waiting; try again after Retry-After."


class RateLimited(RetryLater):
    code = "rate_limited"
    detail = "This key asks more often than it may; see Retry-After."


class TooManyConnections(RetryLater):
    code = "too_many_connections"
    detail = "Every connection is busy; see Retry-After."


class ShuttingDown(Overload):
    code = "shutting_down"
    detail = "The service finishes what it has; try again in a moment."


class EngineFault(ServeError):
    """The fault is in the engine, not in the request."""


class EngineFailed(EngineFault):
    code = "engine_failed"
    detail = "The bound engine could not answer for this image; it has been logged."


class EngineUnsound(EngineFault):
    code = "engine_unsound"
    detail = "The engine contradicted itself, so there is no certificate; the model is taken out of service."


def family(cls: type[CodedError] = CodedError, depth: int = 0) -> Iterator[tuple[int, type[CodedError]]]:
    """The class and all below it that are defined here or are about images, each with its depth, as they are
    written."""
    yield depth, cls
    for child in cls.__subclasses__():
        if child.__module__ in (__name__, CodedError.__module__):
            yield from family(child, depth + 1)
