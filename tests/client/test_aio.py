"""The asynchronous client does what the other does, and lets its tasks run side by side."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from client import wire
from goodcert.client import (
    AsyncClient,
    Certificate,
    Client,
    ConnectionFailed,
    Overloaded,
    PartError,
    Timeout,
    UnreadableAnswer,
)

T = TypeVar("T")


def _run(answer: wire.Answer, use: Callable[[AsyncClient], Awaitable[T]], **options: Any) -> tuple[T, list[float]]:
    """What `use` makes of a client of this service, and the waits of the client."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def story() -> T:
        transport = httpx.MockTransport(answer)  # type: ignore[arg-type]
        async with AsyncClient("http://service", transport=transport, sleep=sleep, **options) as client:
            return await use(client)

    return asyncio.run(story()), waits


def _methods(kind: type) -> dict[str, tuple[Any, str | None]]:
    public = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    return {name: (inspect.signature(value), value.__doc__) for name, value in public.items()}


def test_both_clients_have_the_same_methods():
    assert _methods(AsyncClient) == _methods(Client)


def test_both_clients_are_made_alike():
    names = [list(inspect.signature(kind).parameters) for kind in (Client, AsyncClient)]
    assert names[0] == names[1]


def test_an_image_is_certified():
    answer, requests = wire.in_turn(httpx.Response(200, json=wire.certificate()))
    certificate, _ = _run(answer, lambda client: client.certify(wire.PNG, epsilon=1e-7, version="2"), api_key="k")
    assert certificate == Certificate.from_json(wire.certificate())
    (request,) = requests
    assert request.url.raw_path == b"/v1/models/mnist-good100/versions/2/certify?epsilon=0.0000001"
    assert (request.content, request.headers["Content-Type"]) == (wire.PNG, "image/png")
    assert request.headers["Authorization"] == "Bearer k"


def test_many_images_come_back_in_order_with_failures_in_place(tmp_path: Path):
    path = tmp_path / "photo"
    path.write_bytes(wire.JPEG)
    error = {"title": "Not an image", "status": 415, "detail": "", "code": "not_an_image"}
    answer, requests = wire.in_turn(
        httpx.Response(200, json={"certificates": [{"error": error}, wire.certificate(id="b")]})
    )
    (first, second), _ = _run(answer, lambda client: client.certify_many([b"?", path]))
    assert isinstance(first, PartError)
    assert isinstance(second, Certificate)
    assert (first.code, second.id) == ("not_an_image", "b")
    assert requests[0].content.index(b"?") < requests[0].content.index(wire.JPEG)


def test_no_images_are_no_request():
    assert _run(pytest.fail, lambda client: client.certify_many([])) == ([], [])


def test_models_one_model_and_readiness_are_asked_for():
    entry = {"name": "m", "version": "1"}
    answer, requests = wire.in_turn(
        httpx.Response(200, json={"models": [entry]}), httpx.Response(200, json=entry), httpx.Response(503)
    )

    async def use(client: AsyncClient) -> tuple[Any, ...]:
        return await client.models(), await client.model("m"), await client.ready()

    (models, model, ready), _ = _run(answer, use)
    assert (models, ready) == ([model], False)
    assert [request.url.path for request in requests] == ["/v1/models", "/v1/models/m", "/health/ready"]


def test_a_refused_request_is_made_again_after_the_wait_it_was_told():
    answer, _ = wire.in_turn(
        wire.problem(503, "queue_full", Retry_After="2"), httpx.Response(200, json={"models": []})
    )
    models, waits = _run(answer, AsyncClient.models)
    assert models == []
    (wait,) = waits
    assert 2.05 <= wait <= 2.1


def test_after_the_last_retry_the_refusal_is_raised():
    answer, requests = wire.in_turn(*[wire.problem(429, "slow_down")] * 2)
    with pytest.raises(Overloaded, match="429 slow_down"):
        _run(answer, AsyncClient.models, retries=1)
    assert len(requests) == 2


def test_waits_add_up_and_end_before_the_total():
    answer, requests = wire.in_turn(*[wire.problem(503, "queue_full", Retry_After="12")] * 4)
    with pytest.raises(Overloaded):
        _run(answer, AsyncClient.models)
    assert len(requests) == 3  # twice 12 seconds fit into 30, three times do not


def test_a_real_service_answers_many_tasks_on_one_client(tmp_path: Path):
    path = tmp_path / "seven.png"
    path.write_bytes(wire.PNG)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.content == wire.PNG
        return httpx.Response(200, json=wire.certificate(id=request.url.params["epsilon"]))

    async def story(base_url: str) -> list[str]:
        async with AsyncClient(base_url) as client:
            asked = [client.certify(path, epsilon=str(number)) for number in range(20)]
            return [certificate.id for certificate in await asyncio.gather(*asked)]

    with wire.serving(answer) as base_url:
        assert asyncio.run(story(base_url)) == [str(number) for number in range(20)]


def test_a_connection_that_breaks_before_an_answer_is_tried_again():
    answer, requests = wire.in_turn(None, httpx.Response(200, json={"models": []}))

    async def at_once(seconds: float) -> None:
        pass

    async def story(base_url: str) -> None:
        async with AsyncClient(base_url, sleep=at_once) as client:
            assert await client.models() == []

    with wire.serving(answer) as base_url:
        asyncio.run(story(base_url))
    assert len(requests) == 2


def test_an_answer_that_breaks_off_is_unreadable():
    half = httpx.Response(200, content=b'{"mod', headers={"Content-Length": "100", "Connection": "close"})
    answer, requests = wire.in_turn(half)

    async def story(base_url: str) -> None:
        async with AsyncClient(base_url) as client:
            with pytest.raises(UnreadableAnswer, match="broke off"):
                await client.models()

    with wire.serving(answer) as base_url:
        asyncio.run(story(base_url))
    assert len(requests) == 1


def test_a_silent_service_is_a_timeout():
    released = threading.Event()

    def silent(request: httpx.Request) -> None:
        released.wait(30)

    async def story(base_url: str) -> None:
        async with AsyncClient(base_url, timeout=0.05) as client:
            with pytest.raises(Timeout):
                await client.models()
        released.set()

    with wire.serving(silent) as base_url:
        asyncio.run(story(base_url))


def test_a_failed_connection_is_named_with_the_address():
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody", request=request)

    with pytest.raises(ConnectionFailed, match=r"http://service.*ConnectError: nobody"):
        _run(broken, AsyncClient.models, retries=0)


def test_a_cancelled_caller_does_not_retry():
    asked = asyncio.Event()

    async def wait_for_ever(seconds: float) -> None:
        asked.set()
        await asyncio.Event().wait()

    async def story() -> None:
        answer, requests = wire.in_turn(wire.problem(503, "queue_full"))
        transport = httpx.MockTransport(answer)  # type: ignore[arg-type]
        async with AsyncClient("http://service", transport=transport, sleep=wait_for_ever) as client:
            task = asyncio.create_task(client.models())
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(requests) == 1

    asyncio.run(story())
