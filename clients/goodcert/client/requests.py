"""The requests that both clients make and how answers are read: everything but the sending."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx

from goodcert.client.errors import (
    ConnectionFailed,
    GoodcertError,
    PartError,
    Timeout,
    UnreadableAnswer,
    service_error,
)
from goodcert.client.results import Certificate, ModelInfo, certificates_from_json, models_from_json
from goodcert.client.retry import retry_after_seconds

T = TypeVar("T")

Image: TypeAlias = bytes | str | os.PathLike[str]
"""An encoded image: its bytes, or the path of its file."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"BM", "image/bmp"),
)


class Options(TypedDict, total=False):
    """What may be said about a certificate that is asked for.

    `model` is "mnist-good100" by default, `version` its newest, `epsilon` the one it was trained for: the
    l-infinity radius in pixels scaled to [0, 1], a float, or a decimal as text, which is sent as it is.
    `method` is "ibp", "crown", which is tighter and far slower, or "auto", crown where ibp leaves a rejected image
    uncertified; the service's default is ibp. `radius` asks for the certified radius, too.
    """

    model: str
    version: str | None
    epsilon: str | float | None
    method: str | None
    radius: bool


@dataclass(frozen=True)
class ApiCall(Generic[T]):
    """One request, and what its answer becomes; answers with another status than `expected` are errors."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: Mapping[str, Any] = field(default_factory=dict)
    expected: frozenset[int] = frozenset({200})

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as the given httpx client sends it, new for every attempt."""
        return http.build_request(self.method, self.path, **self.content)

    def answer(self, response: httpx.Response) -> T:
        """The result in a response that was read to its end; raises ServiceError or UnreadableAnswer."""
        if response.status_code in self.expected:
            return self.read(response)
        wait = retry_after_seconds(response.headers.get("Retry-After"), datetime.now(UTC))
        raise service_error(response.status_code, _problem(response), response.reason_phrase, wait)


def certify(image: bytes, **options: Unpack[Options]) -> ApiCall[Certificate]:
    """Ask for the certificate of one image; `image` is the encoded file."""
    path, query = _target(**options)
    content = {"params": query, "content": image, "headers": {"Content-Type": content_type(image)}}
    return ApiCall("POST", path, lambda response: Certificate.from_json(_json(response)), content)


def certify_many(images: Sequence[bytes], **options: Unpack[Options]) -> ApiCall[list[Certificate | PartError]]:
    """Ask for the certificates of several images in one request, answered in order."""
    path, query = _target(**options)
    parts = [("images", (str(index), image, content_type(image))) for index, image in enumerate(images)]
    content = {"params": query, "files": parts}
    return ApiCall("POST", path, lambda response: certificates_from_json(_json(response), len(parts)), content)


def models() -> ApiCall[list[ModelInfo]]:
    """Ask which models there are."""
    return ApiCall("GET", "/v1/models", lambda response: models_from_json(_json(response)))


def model(name: str) -> ApiCall[ModelInfo]:
    """Ask for the card of one model."""
    return ApiCall("GET", f"/v1/models/{_segment(name)}", lambda response: ModelInfo.from_json(_json(response)))


def ready() -> ApiCall[bool]:
    """Ask whether the service would answer now; "no" (503) is an answer and no error."""
    expected = frozenset({200, 503})
    return ApiCall("GET", "/health/ready", lambda response: response.status_code == 200, expected=expected)


def read_image(image: Image) -> bytes:
    """The bytes of an image given as bytes or as the path of a file; OSError where that cannot be read."""
    return image if isinstance(image, bytes) else Path(image).read_bytes()


def content_type(image: bytes) -> str:
    """The media type that the first bytes tell; application/octet-stream lets the service judge."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    named = (name for start, name in _SIGNATURES if image.startswith(start))
    return next(named, "application/octet-stream")


def plain_decimal(epsilon: str | float) -> str:
    """Epsilon as the service reads it: the shortest decimal for this float, without an exponent."""
    return epsilon if isinstance(epsilon, str) else format(Decimal(repr(float(epsilon))), "f")


def http_options(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """What an httpx client is made with; ValueError for an address, key or timeout that cannot work."""
    if not timeout > 0:
        raise ValueError(f"timeout is {timeout}, expected seconds above 0")
    address = _address(base_url)
    # A proxy of the environment is for other machines; this one would not be found through it.
    elsewhere = httpx.URL(address).host not in ("127.0.0.1", "::1", "localhost")
    return {
        "base_url": address,
        "timeout": timeout,
        "headers": _authorization(api_key),
        "trust_env": elsewhere,
    }


@contextmanager
def no_answer(base_url: object) -> Iterator[None]:
    """Name as ours what httpx raises until an answer begins."""
    with _translated(ConnectionFailed, f"no answer from {base_url}: is a goodcert service running there?"):
        yield


@contextmanager
def broken_answer(base_url: object) -> Iterator[None]:
    """Name as ours what httpx raises while an answer is read."""
    with _translated(UnreadableAnswer, f"the answer from {base_url} broke off or cannot be decoded"):
        yield


@contextmanager
def _translated(kind: type[GoodcertError], told: str) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise Timeout(f"{told} ({type(error).__name__}; `timeout` gives it longer)") from error
    except httpx.HTTPError as error:
        raise kind(f"{told} ({type(error).__name__}: {error})") from error


def _target(
    *,
    model: str = "mnist-good100",
    version: str | None = None,
    epsilon: str | float | None = None,
    method: str | None = None,
    radius: bool = False,
) -> tuple[str, dict[str, str]]:
    """The path of the certify call and its query, with nothing in it that was not asked for."""
    versions = "" if version is None else f"/versions/{_segment(version)}"
    query = {} if epsilon is None else {"epsilon": plain_decimal(epsilon)}
    query |= {} if method is None else {"method": method}
    query |= {"radius": "true"} if radius else {}
    return f"/v1/models/{_segment(model)}{versions}/certify", query


def _segment(name: str) -> str:
    if name in {"", ".", ".."}:
        raise ValueError(f"{name!r} cannot name a model or a version; `models()` lists those that exist")
    return quote(name, safe="")


def _address(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ValueError(f"base_url cannot be read: {error}") from error
    if url.userinfo:  # it would be shown wherever the address is shown
        raise ValueError("base_url holds a user name or password: give the key as api_key")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url is {base_url!r}, expected http:// or https:// and a host")
    return url


def _authorization(api_key: str | None) -> dict[str, str]:
    if api_key is None:
        return {}
    if not api_key or any(not "!" <= character <= "~" for character in api_key):
        raise ValueError("api_key is empty or not printable ASCII without spaces: give the bare key")
    return {"Authorization": f"Bearer {api_key}"}


def _json(response: httpx.Response) -> object:
    try:
        document: object = json.loads(response.content)
    except (ValueError, RecursionError) as error:
        media = response.headers.get("Content-Type", "no media type")
        told = f"{response.url} answered {response.status_code} with {media}, expected JSON"
        raise UnreadableAnswer(f"{told}: is base_url a goodcert service?") from error
    return document


def _problem(response: httpx.Response) -> object:
    try:
        return _json(response)
    except UnreadableAnswer as error:  # a proxy's page, say: the status still tells what happened
        return {"detail": str(error)}
