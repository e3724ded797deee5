"""What can go wrong between an upload and its certificate; `problems` says how HTTP puts it.

ServeError
├── KeyRefused
│   ├── KeyExpired
│   ├── KeyMissing
│   ├── KeyWrong
│   └── ScopeMissing
├── BodyRefused
│   ├── BadFraming
│   ├── BodyBroken
│   ├── BodyTooLarge
│   ├── BodyTooSlow
│   ├── EmptyBody
│   ├── HeadersTooLarge
│   ├── HeadersTooSlow
│   ├── MediaTypeRefused
│   └── MultipartRefused
│       ├── MalformedMultipart
│       ├── NoImages
│       └── UnknownPart
├── ImageRefused
│   ├── NotAnImage
│   ├── SeveralFrames
│   ├── TooManyPixels
│   └── WrongSize
├── QueryRefused
│   ├── BadEpsilon
│   ├── BadFilter
│   ├── BadPriority
│   ├── BadRadius
│   ├── BadSigned
│   ├── BadTimeout
│   ├── CrownUnavailable
│   ├── MethodNotOffered
│   ├── RepeatedParameter
│   └── UnknownParameter
├── IdempotencyRefused
│   ├── BadIdempotencyKey
│   ├── IdempotencyMismatch
│   └── IdempotencyUnavailable
├── LedgerFault
│   ├── LedgerDisabled
│   ├── LedgerUnavailable
│   ├── NoCheckpoint
│   └── UnknownCertificate
├── ProtocolRefused
│   ├── AdminDisabled
│   ├── BadInference
│   ├── EncodingRefused
│   └── NotSupported
├── SigningDisabled
├── ModelUnavailable
│   ├── NotEverywhere
│   ├── NotReady
│   ├── UnknownModel
│   └── UnsoundModel
├── CallerGone
├── Overload
│   ├── DeadlineExceeded
│   ├── RetryLater
│   │   ├── BodiesFull
│   │   ├── KeyBusy
│   │   ├── QueueFull
│   │   ├── RateLimited
│   │   └── TooManyConnections
│   └── ShuttingDown
└── EngineFault
    ├── EngineFailed
    └── EngineUnsound
"""


class ServeError(Exception):
    """Anything the service answers with a problem. Messages are for the log, never for the wire."""


class KeyRefused(ServeError):
    """The caller may not ask."""


class KeyExpired(KeyRefused):
    """The API key was good until its day came."""


class KeyMissing(KeyRefused):
    """No API key came with the request."""


class KeyWrong(KeyRefused):
    """The API key is none of the configured ones."""


class ScopeMissing(KeyRefused):
    """The API key is accepted, but not for this."""


class BodyRefused(ServeError):
    """The body cannot be taken as one or more images."""


class BadFraming(BodyRefused):
    """The length of the body is given twice or not as a number."""


class BodyBroken(BodyRefused):
    """The caller went away before the body was complete."""


class BodyTooLarge(BodyRefused):
    """More bytes than one request may have."""


class BodyTooSlow(BodyRefused):
    """The body did not arrive in the time a request may take."""


class EmptyBody(BodyRefused):
    """There is nothing to certify."""


class HeadersTooLarge(BodyRefused):
    """More bytes of headers than are read."""


class HeadersTooSlow(BodyRefused):
    """The headers did not arrive in the time they may take."""


class MediaTypeRefused(BodyRefused):
    """The Content-Type is neither an image type that is read nor a form."""


class MultipartRefused(BodyRefused):
    """The form cannot be taken apart into images."""


class MalformedMultipart(MultipartRefused):
    """The form breaks the syntax of multipart/form-data."""


class NoImages(MultipartRefused):
    """The form has no part at all."""


class UnknownPart(MultipartRefused):
    """The form has a part that is not named `images`."""


class ImageRefused(ServeError):
    """The bytes are no image that the model can be asked about."""


class NotAnImage(ImageRefused):
    """The bytes do not decode as PNG, JPEG, WEBP or BMP."""


class SeveralFrames(ImageRefused):
    """An animation or a bundle: which frame is meant is unknown."""


class TooManyPixels(ImageRefused):
    """The header announces more pixels than the service decodes."""


class WrongSize(ImageRefused):
    """The model takes images of its own size only."""


class QueryRefused(ServeError):
    """The query, or a header beside it, asks for something that cannot be."""


class BadEpsilon(QueryRefused):
    """Epsilon is no decimal number in [0, 1]."""


class BadPriority(QueryRefused):
    """The priority is not one the service has."""


class BadFilter(QueryRefused):
    """A list of certificates is asked for by something that is no filter."""


class BadSigned(QueryRefused):
    """Whether a signature is asked for is neither true nor false."""


class BadRadius(QueryRefused):
    """Whether the certified radius is asked for is neither true nor false."""


class BadTimeout(QueryRefused):
    """The time that a request may take is no positive whole number of milliseconds."""


class CrownUnavailable(QueryRefused):
    """The model has no linear bounds."""


class MethodNotOffered(QueryRefused):
    """The bound method is not one the service has."""


class RepeatedParameter(QueryRefused):
    """A parameter is given twice: which one is meant is unknown."""


class UnknownParameter(QueryRefused):
    """A parameter that is not known, perhaps a misspelling."""


class ProtocolRefused(ServeError):
    """The Open Inference Protocol has no such request, or this service no answer to it. Unlike those of all other
    errors, the message is for the caller; where there is none, the problem's own text is told."""


class AdminDisabled(ProtocolRefused):
    """Models may not be loaded and unloaded over the network."""


class BadInference(ProtocolRefused):
    """An infer request that does not say what its images are."""


class EncodingRefused(ProtocolRefused):
    """The body is compressed in a way that is not read."""


class NotSupported(ProtocolRefused):
    """An extension of the protocol that this service does not have."""


class IdempotencyRefused(ServeError):
    """The request cannot be answered once and for all."""


class BadIdempotencyKey(IdempotencyRefused):
    """The key is empty, too long, or not of printable characters."""


class IdempotencyMismatch(IdempotencyRefused):
    """The key was used for another request."""


class IdempotencyUnavailable(IdempotencyRefused):
    """Answers are kept in the ledger, and there is none."""


class LedgerFault(ServeError):
    """The ledger does not give or take what is asked."""


class LedgerDisabled(LedgerFault):
    """The service keeps no ledger."""


class LedgerUnavailable(LedgerFault):
    """The ledger could not be written or read."""


class NoCheckpoint(LedgerFault):
    """No signed checkpoint of the ledger was made yet."""


class UnknownCertificate(LedgerFault):
    """No certificate of this id is in the ledger."""


class SigningDisabled(ServeError):
    """The service has no key to sign with."""


class ModelUnavailable(ServeError):
    """There is no model to answer."""


class NotEverywhere(ModelUnavailable):
    """Not every process of the service confirmed that it loaded or unloaded the model."""


class NotReady(ModelUnavailable):
    """The service as a whole should get no traffic."""


class UnknownModel(ModelUnavailable):
    """No model of this name and version is served."""


class UnsoundModel(ModelUnavailable):
    """The model broke its guarantee earlier and is out of service until it is loaded again."""


class CallerGone(ServeError):
    """The caller hung up before the answer: nobody reads it, but the log and the metrics do."""


class Overload(ServeError):
    """The service is up but cannot answer this one in time."""


class DeadlineExceeded(Overload):
    """The answer would come after the caller's deadline."""


class RetryLater(Overload):
    """Too much was asked; `retry_after_seconds` is when to ask again."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"expected to have room in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class BodiesFull(RetryLater):
    """The bodies of all requests together take as much memory as they may."""


class KeyBusy(RetryLater):
    """The key has as many requests under way as it may."""


class QueueFull(RetryLater):
    """The queue is full."""


class RateLimited(RetryLater):
    """The key has asked more often than it may."""


class TooManyConnections(RetryLater):
    """As many connections as there may be are all busy."""


class ShuttingDown(Overload):
    """The service finishes what it has and takes nothing new."""


class EngineFault(ServeError):
    """The fault is in the engine, not in the request."""


class EngineFailed(EngineFault):
    """The engine raised, or did not answer for every image."""


class EngineUnsound(EngineFault):
    """The engine contradicts itself: a bound on the wrong side of the confidence."""
