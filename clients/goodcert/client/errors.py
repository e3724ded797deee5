"""What can go wrong when the service is asked, from the wire to the single image.

    GoodcertError                 everything below
        ConnectionFailed          no answer began: nobody there, or the connection broke first
        Timeout                   nothing came for `timeout` seconds
        UnreadableAnswer          an answer came, and it is not one that the service gives
        ServiceError              the service answered with a problem: code, status, title, detail
            BadRequest            400, and its kinds: the same request will fail again
                TooLarge          413  too many bytes or pixels
                UnreadableImage   415  not an image that the service reads
                InvalidValue      422  a size or an epsilon that cannot be
            Denied                401, 403  the API key is missing, unknown or not enough
            NotFound              404  no such model, version or page
            Overloaded            429, 503  not now; `retry_after` says when, if the service did
            DeadlinePassed        504  too late to be of use

`PartError` is no exception: it stands in the list where an image of `certify_many` got no certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


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
    """

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


class TooLarge(BadRequest):
    """The upload has more bytes or pixels than the service takes."""


class UnreadableImage(BadRequest):
    """The upload is not a whole image in a format that the service reads."""


class InvalidValue(BadRequest):
    """A value cannot be: an epsilon outside [0, 1], an image too small."""


class Denied(ServiceError):
    """The API key is missing, unknown, or does not allow this."""


class NotFound(ServiceError):
    """There is no such model, version or page at this address."""


class Overloaded(ServiceError):
    """The service cannot answer now and did no work; `retry_after` seconds later it may."""


class DeadlinePassed(ServiceError):
    """The answer would have come too late and was not computed."""


_BY_STATUS: Mapping[int, type[ServiceError]] = {
    400: BadRequest,
    401: Denied,
    403: Denied,
    404: NotFound,
    413: TooLarge,
    415: UnreadableImage,
    422: InvalidValue,
    429: Overloaded,
    503: Overloaded,
    504: DeadlinePassed,
}


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
