"""Where webhooks go: one POST over a connection of its own, to an address that was looked at before.

The name is resolved once, every address it has must be public (unless the trigger allows others), and httpcore
connects to one of these (`address_pinning`). Proxies, redirects, compression, cookies: none. Of the answer only
the status counts.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import httpcore

from goodcert.serve.events.address_pinning import PinnedBackend, ReadBudget
from goodcert.serve.settings.addresses import is_public
from goodcert.serve.settings.trigger_rules import Trigger, host_of

MOST_BYTES = 2**16
"""How much of an answer is read at most."""
MOST_HEAD_BYTES = 2**14
"""And until its headers are complete, those of 1xx answers before it included."""
_FAREWELL_SECONDS = 1
_FAULTS = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host. Raises OSError."""


class DeliveryFailed(Exception):
    """The webhook was not received; the message says why, and names no address."""


class WebhookAnswer(NamedTuple):
    """retry_after: seconds for which the receiver wants to be left alone."""

    status: int
    retry_after: float = 0


async def resolve(host: str, port: int) -> list[str]:
    """By the system's resolver, in its order. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class WebhookClient:
    """The URL of a trigger. Raises ssl.SSLError or OSError where its ca_file is none."""

    def __init__(self, trigger: Trigger, resolve: Resolve = resolve) -> None:
        url = trigger.url
        default = 443 if url.scheme == "https" else 80
        self._host, self._port = host_of(url), url.port or default
        self._resolve, self._allow_private = resolve, trigger.allow_private
        self._tls = ssl.create_default_context(cafile=trigger.ca_file) if url.scheme == "https" else None
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._url = httpcore.URL(scheme=url.scheme, host=self._host, port=self._port, target=target)
        self._authority = (url.host or "") + (f":{self._port}" if self._port != default else "")

    async def post(self, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """How the receiver answered. Raises DeliveryFailed; how long it may take is the caller's business."""
        try:
            return await self._exchange(await self._addresses(), headers, body)
        except (OSError, ValueError, *_FAULTS) as error:
            raise DeliveryFailed(type(_root(error)).__name__) from error

    async def _addresses(self) -> Sequence[str]:
        addresses = await self._resolve(self._host, self._port)
        if not (self._allow_private or all(map(is_public, addresses))):
            raise DeliveryFailed("private address")
        return addresses

    async def _exchange(self, addresses: Sequence[str], headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        budget = ReadBudget(MOST_HEAD_BYTES)
        backend = PinnedBackend(addresses, budget)
        connection = httpcore.AsyncHTTPConnection(self._url.origin, self._tls, network_backend=backend)
        told = list({"host": self._authority, "connection": "close", **headers}.items())
        try:
            async with connection.stream("POST", self._url, headers=told, content=body) as response:
                budget.left += MOST_BYTES - MOST_HEAD_BYTES
                await _see_off(response)
                return _answer(response)
        finally:
            await backend.aclose()


async def _see_off(response: httpcore.Response) -> None:
    """Let the receiver finish, if it does so soon: what it says no longer matters."""
    with contextlib.suppress(OSError, *_FAULTS):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            async for _ in response.aiter_stream():
                pass


def _answer(response: httpcore.Response) -> WebhookAnswer:
    """Retry-After in seconds, a day at most; a date is not read."""
    told = {name.lower(): value for name, value in response.headers}.get(b"retry-after", b"0")
    return WebhookAnswer(response.status, min(float(told), 86_400) if told.isdigit() else 0)


def _root(error: BaseException) -> BaseException:
    """What httpcore's error was made of: it calls a refused connection and a bad certificate by one name."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
