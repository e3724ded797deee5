"""A network backend of httpcore against server-side request forgery (SSRF): it connects to addresses, never names.

Whoever resolves a name looks at its addresses and hands them over; the connection goes to one of these, so that a
name that changes its mind meanwhile (DNS rebinding) changes nothing. TLS still asks for the name, and Host has it.
"""

import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore


@dataclass
class ReadBudget:
    """left: how many bytes may still be read."""

    left: int


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects once, to the first of `addresses` (IPv4 or IPv6, as text) that accepts; `aclose` ends that."""

    def __init__(self, addresses: Sequence[str], budget: ReadBudget) -> None:
        self._addresses, self._budget = addresses, budget
        self._tcp = httpcore.AnyIOBackend()
        self._opened: httpcore.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  the name is for TLS and for Host
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises httpcore.ConnectError or ConnectTimeout."""
        fault: Exception = httpcore.ConnectError("got no address, expected one at least")
        for address in self._addresses:
            try:
                self._opened = await self._tcp.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                fault = error
            else:
                return _MeteredStream(self._opened, self._budget)
        raise fault

    async def aclose(self) -> None:
        """httpcore leaves a connection open whose TLS handshake is cancelled, as it is by a deadline."""
        if self._opened is not None:
            await self._opened.aclose()


class _MeteredStream(httpcore.AsyncNetworkStream):
    """A stream of which no more is read than the budget has; then httpcore.ReadError."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, budget: ReadBudget) -> None:
        self._stream, self._budget = stream, budget

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._budget.left <= 0:
            raise httpcore.ReadError("the answer has more bytes than are read")
        data = await self._stream.read(min(max_bytes, self._budget.left), timeout)
        self._budget.left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _MeteredStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
