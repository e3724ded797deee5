"""How an error looks on the wire (RFC 9457): the code and texts of its class, and here the status."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from goodcert.images.errors import CodedError, ImageRefused, TooManyPixels, WrongSize
from goodcert.serve.core import errors

MEDIA_TYPE = "application/problem+json"
PROTOCOL = "/v2"
"""Where the Open Inference Protocol answers, which has a form of its own."""


class Problem(NamedTuple):
    """What a caller is told: `code` is stable and for programs, `title` and `detail` are for people."""

    status: int
    code: str
    title: str
    detail: str


STATUS: Mapping[type[CodedError], int] = {
    CodedError: 500,
    errors.KeyRefused: 403,
    errors.KeyMissing: 401,
    errors.BodyRefused: 400,
    errors.BodyTooLarge: 413,
    errors.BodyTooSlow: 408,
    errors.HeadersTooLarge: 431,
    errors.HeadersTooSlow: 408,
    errors.MediaTypeRefused: 415,
    errors.UnknownPart: 422,
    ImageRefused: 415,
    TooManyPixels: 413,
    WrongSize: 422,
    errors.QueryRefused: 422,
    errors.IdempotencyRefused: 422,
    errors.LedgerFault: 404,
    errors.LedgerUnavailable: 503,
    errors.ProtocolRefused: 400,
    errors.AdminDisabled: 403,
    errors.EncodingRefused: 415,
    errors.SigningDisabled: 406,
    errors.ModelUnavailable: 503,
    errors.UnknownModel: 404,
    errors.CallerGone: 499,
    errors.Overload: 503,
    errors.DeadlineExceeded: 504,
    errors.KeyBusy: 429,
    errors.RateLimited: 429,
}
"""Of a family and what is below it, but for those that have their own."""


def _problem(cls: type[CodedError]) -> Problem:
    """By the class, or its nearest ancestor, that has a code."""
    coded = next(one for one in cls.__mro__ if "code" in vars(one))
    status = next(STATUS[one] for one in coded.__mro__ if one in STATUS)
    return Problem(status, cls.code, cls.title, cls.detail)


BAD_REQUEST = Problem(400, "bad_request", "Bad request", "The request could not be understood.")
NOT_FOUND = Problem(404, "not_found", "Not found", "There is nothing at this path; /docs lists what there is.")
METHOD_NOT_ALLOWED = Problem(
    405,
    "method_not_allowed",
    "Method not allowed",
    "The path exists, but not for this HTTP method; see Allow.",
)
INVALID_REQUEST = Problem(422, "invalid_request", "Invalid request", "A path or query value has the wrong form.")
INTERNAL_ERROR = _problem(CodedError)

FRAMEWORK = (BAD_REQUEST, NOT_FOUND, METHOD_NOT_ALLOWED, INVALID_REQUEST)
"""What the web framework refuses, which raises no error of ours."""
PROBLEMS = tuple(sorted([*(_problem(cls) for _, cls in errors.family() if "code" in vars(cls)), *FRAMEWORK]))
"""Every problem there is, by status."""
_BY_STATUS = {problem.status: problem for problem in FRAMEWORK}


def problem_of(error: Exception) -> Problem:
    """What its class tells; anything that is neither ours nor the framework's is an internal error."""
    if isinstance(error, RequestValidationError):
        return INVALID_REQUEST
    if isinstance(error, HTTPException):
        return _BY_STATUS.get(error.status_code, BAD_REQUEST if error.status_code < 500 else INTERNAL_ERROR)
    return _problem(type(error)) if isinstance(error, CodedError) else INTERNAL_ERROR


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


def is_protocol(path: str) -> bool:
    """Whether the Open Inference Protocol answers at this path."""
    return path == PROTOCOL or path.startswith(f"{PROTOCOL}/")


class Refusal(NamedTuple):
    """How an error looks in the Open Inference Protocol: a sentence, besides its status and headers."""

    status: int
    sentence: str
    headers: Mapping[str, str]


class Answers:
    """Turns errors into responses and tells `count` the code of each one."""

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count

    def body(self, error: Exception) -> dict[str, Any]:
        """The problem as a JSON object, for a place inside a larger answer."""
        problem = problem_of(error)
        self._count(problem.code)
        return body_of(problem)

    def refusal(self, error: Exception) -> Refusal:
        """The protocol's form; what it refuses itself has a sentence of its own."""
        problem = self.body(error)
        own = str(error) if isinstance(error, errors.ProtocolRefused) else ""
        return Refusal(problem["status"], own or problem["detail"], headers_of(error))

    def response(self, error: Exception, path: str = "") -> Response:
        """In the form that is spoken at the path."""
        if is_protocol(path):
            status, sentence, headers = self.refusal(error)
            return Response(orjson.dumps({"error": sentence}), status, headers, "application/json")
        body = self.body(error)
        return Response(orjson.dumps(body), body["status"], headers_of(error), MEDIA_TYPE)

    def install(self, app: FastAPI) -> None:
        """Answer every error of `app`, the framework's own included."""

        async def answer(_: Request, error: Exception) -> Response:
            return self.response(error)

        for cls in (CodedError, HTTPException, RequestValidationError, Exception):
            app.add_exception_handler(cls, answer)


def table_markdown() -> str:
    """The table of error codes for the documentation."""
    lines = [f"| `{row.code}` | {row.status} | {row.title} | {row.detail} |" for row in PROBLEMS]
    return "\n".join(["| Code | Status | Title | What it tells |", "|---|---|---|---|", *lines]) + "\n"


def tree_markdown() -> str:
    """The family of the errors for the documentation, as the classes have it."""
    lines = [
        f"{'    ' * depth}{cls.__name__}" + (f": {cls.code}" if "code" in vars(cls) else "")
        for depth, cls in errors.family()
    ]
    return "\n".join(["```", *lines, "```"]) + "\n"
