"""What can go wrong when the service is asked, from the wire to the single image.

    GoodcertError
        ConnectionFailed
        Timeout
        UnreadableAnswer
        ServiceError
            BadRequest
                TooLarge
                UnreadableImage
                InvalidValue
            Denied
            NotFound
            Overloaded
            DeadlinePassed

`PartError` is no exception: it stands in the list where an image of `certify_many` got no certificate.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self


class GoodcertError(Exception):
    """Anything that this client raises about the service and its answers."""


class ConnectionFailed(GoodcertError):
    """No answer began: nobody listens there, or the connection broke before the first byte."""


class Timeout(GoodcertError):
    """Connecting, sending or waiting for the next bytes took longer than `timeout` seconds."""


class UnreadableAnswer(GoodcertError):
    """The answer broke off, is not JSON, or lacks a field that every certificate has."""


class ServiceError(GoodcertError):
    """The service answered with a problem document (RFC 9457).

    `code` is stable and meant for programs ("unknown" where the answer had none), `status` is the HTTP
    status, `title` and `detail` are for people, `retry_after` is in seconds, None where none was named.
    `statuses`: those that are answered with just this class.
    """

    statuses: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self, code: str, status: int, title: str, detail: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(code, status, title, detail, retry_after)
        self.code = code
        self.status = status
        self.title = title
        self.detail = detail
        self.retry_after = retry_after

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.status} {self.code}", self.title, self.detail) if part)


class BadRequest(ServiceError):
    """The request itself is at fault: repeating it unchanged cannot help."""

    statuses = (400,)


class TooLarge(BadRequest):
    """The upload has more bytes or pixels than the service takes."""

    statuses = (413,)


class UnreadableImage(BadRequest):
    """The upload is not a whole image in a format that the service reads."""

    statuses = (415,)


class InvalidValue(BadRequest):
    """A value cannot be: an epsilon outside [0, 1], an image too small."""

    statuses = (422,)


class Denied(ServiceError):
    """The API key is missing, unknown, or does not allow this."""

    statuses = (401, 403)


class NotFound(ServiceError):
    """There is no such model, version or page at this address."""

    statuses = (404,)


class Overloaded(ServiceError):
    """The service cannot answer now and did no work; `retry_after` seconds later it may."""

    statuses = (429, 503)


class DeadlinePassed(ServiceError):
    """The answer would have come too late and was not computed."""

    statuses = (504,)


def _kinds(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


_BY_STATUS = {status: kind for kind in _kinds(ServiceError) for status in kind.__dict__.get("statuses", ())}


@dataclass(frozen=True)
class PartError:
    """Why one image of `certify_many` got no certificate; its neighbours are not touched by it.

    Fields as in `ServiceError`; `status` is the one that the image would have been answered with alone,
    0 where the service gave none.
    """

    code: str
    status: int
    title: str
    detail: str = ""

    @classmethod
    def from_json(cls, problem: object, status: int = 0) -> Self:
        """Read a problem document, or whatever came in its place: a bad error report is still a report."""
        fields = problem if isinstance(problem, Mapping) else {}
        number = fields.get("status")
        return cls(
            code=str(fields.get("code") or "unknown"),
            status=number if isinstance(number, int) and not isinstance(number, bool) else status,
            title=str(fields.get("title") or ""),
            detail=str(fields.get("detail") or ""),
        )


def service_error(status: int, problem: object, reason: str, retry_after: float | None) -> ServiceError:
    """The exception for an answer with this HTTP status; `reason` is its title where `problem` has none."""
    told = PartError.from_json(problem)
    kind = _BY_STATUS.get(status, ServiceError)
    return kind(told.code, status, told.title or reason, told.detail, retry_after)
