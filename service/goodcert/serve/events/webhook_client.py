"""Where webhooks go: one POST over a connection of its own, to an address that was looked at before.

The name is resolved once, every address it has must be public (unless the trigger allows others), and the
connection is made to one of these, so that a name that changes its mind meanwhile (DNS rebinding) changes nothing;
TLS still asks for the name. Proxies, redirects, compression, cookies: none. Of the answer only the status counts.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import h11

from goodcert.serve.settings.addresses import is_public
from goodcert.serve.settings.trigger_rules import Trigger, host_of

MOST_BYTES = 2**16
"""How much of an answer is read at most; its headers may have a quarter of that."""
_PIECE = 2**12
_FAREWELL_SECONDS = 1
_END = (h11.EndOfMessage, h11.ConnectionClosed)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host. Raises OSError."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._authority = (url.host or "") + (f":{self._port}" if self._port != default else "")

    async def post(self, headers: Mapping[str, str], body: bytes) -> WebhookAnswer:
        """How the receiver answered. Raises DeliveryFailed; how long it may take is the caller's business."""
        try:
            reader, writer = await self._connect(await self._addresses())
            try:
                return await _exchange(reader, writer, self._request(headers, body), body)
            finally:
                writer.transport.abort()
        except (OSError, ValueError, h11.ProtocolError) as error:
            raise DeliveryFailed(type(error).__name__) from error

    def _request(self, headers: Mapping[str, str], body: bytes) -> h11.Request:
        own = {"host": self._authority, "content-length": str(len(body)), "connection": "close"}
        return h11.Request(method="POST", target=self._path, headers=list({**own, **headers}.items()))

    async def _addresses(self) -> Sequence[str]:
        addresses = await self._resolve(self._host, self._port)
        if not (self._allow_private or all(map(is_public, addresses))):
            raise DeliveryFailed("private address")
        return addresses

    async def _connect(self, addresses: Sequence[str]) -> Streams:
        """To the first that answers."""
        fault: OSError | None = None
        for address in addresses:
            try:
                return await self._open(address)
            except OSError as error:
                fault = error
        raise DeliveryFailed(type(fault).__name__) from fault

    async def _open(self, address: str) -> Streams:
        if self._tls is None:
            return await asyncio.open_connection(address, self._port, limit=MOST_BYTES)
        return await asyncio.open_connection(
            address, self._port, limit=MOST_BYTES, ssl=self._tls, server_hostname=self._host
        )


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: h11.Request, body: bytes
) -> WebhookAnswer:
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_BYTES // 4)
    for sent in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(wire.send(sent) or b"")
    events = _events(reader, wire)
    async for event in events:
        if isinstance(event, h11.Response):
            await _see_off(events)
            return _answer(event)
    raise DeliveryFailed("no answer")


async def _events(reader: asyncio.StreamReader, wire: h11.Connection) -> AsyncIterator[object]:
    """What the receiver says, as far as it is listened to."""
    left = MOST_BYTES
    while not isinstance(event := wire.next_event(), _END):
        if event is h11.NEED_DATA:
            if left <= 0:
                return
            piece = await reader.read(_PIECE)
            left -= len(piece)
            wire.receive_data(piece)
        else:
            yield event


async def _see_off(events: AsyncIterator[object]) -> None:
    """Let the receiver finish, if it does so soon: what it says no longer matters."""
    with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            async for _ in events:
                pass


def _answer(response: h11.Response) -> WebhookAnswer:
    """Retry-After in seconds, a day at most; a date is not read."""
    told = dict(response.headers).get(b"retry-after", b"0")
    return WebhookAnswer(response.status_code, min(float(told), 86_400) if told.isdigit() else 0)
