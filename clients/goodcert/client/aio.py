"""The client for asyncio; `sync` is the same without `await`."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Self, TypeVar, Unpack

import httpx

from goodcert.client import requests
from goodcert.client.errors import GoodcertError, PartError
from goodcert.client.requests import ApiCall, Image, Options
from goodcert.client.results import Certificate, ModelInfo
from goodcert.client.retry import RetryPolicy

T = TypeVar("T")


class AsyncClient:
    """Asks a goodcert service from asyncio; use it in `async with`, from as many tasks as you like.

    `timeout` is in seconds and holds for connecting, for sending and for every wait for bytes. `retries` more
    attempts follow a refusal (429, 503) or a failed connection, with waits of at most 30 seconds together.
    `transport` and `sleep` are the seams for tests. Raises ValueError for an address, key or number that
    cannot work.

    Every method raises GoodcertError; see `goodcert.client.errors` for its kinds.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._policy = RetryPolicy(retries)
        self._http = httpx.AsyncClient(transport=transport, **requests.http_options(base_url, api_key, timeout))
        self._sleep = sleep

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        await self._http.aclose()

    async def certify(self, image: Image, **options: Unpack[Options]) -> Certificate:
        """The certificate of one image, given as bytes or as a path; `options` are those of `Options`."""
        return await self._send(requests.certify(await _read(image), **options))

    async def certify_many(
        self, images: Iterable[Image], **options: Unpack[Options]
    ) -> list[Certificate | PartError]:
        """The certificates of several images in one request, in order; PartError for those not readable."""
        read = [await _read(image) for image in images]
        return await self._send(requests.certify_many(read, **options)) if read else []

    async def models(self) -> list[ModelInfo]:
        """The models that the service holds."""
        return await self._send(requests.models())

    async def model(self, name: str) -> ModelInfo:
        """One model's card; NotFound where there is none of this name."""
        return await self._send(requests.model(name))

    async def ready(self) -> bool:
        """Whether the service answers certificates now; ConnectionFailed where nobody answers at all."""
        return await self._send(requests.ready())

    async def _send(self, call: ApiCall[T]) -> T:
        attempt, waited = 0, 0.0
        while True:
            try:
                return await self._ask(call)
            except GoodcertError as error:
                jitter = random.random()  # noqa: S311 - it spreads load and guards nothing
                wait = self._policy.wait_seconds(error, attempt, waited, jitter)
                if wait is None:
                    raise
            await self._sleep(wait)
            attempt, waited = attempt + 1, waited + wait

    async def _ask(self, call: ApiCall[T]) -> T:
        with requests.no_answer(self._http.base_url):
            response = await self._http.send(call.request(self._http), stream=True)
        with requests.broken_answer(self._http.base_url):
            async with aclosing(response):
                await response.aread()
        return call.answer(response)


async def _read(image: Image) -> bytes:
    """Bytes pass at once; a file is read in a thread, so that a slow disk does not hold the event loop."""
    return image if isinstance(image, bytes) else await asyncio.to_thread(requests.read_image, image)
