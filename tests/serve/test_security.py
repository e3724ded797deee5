"""Keys and sizes, checked on the bare middleware before anything is read."""

import asyncio

import pytest

from goodcert.serve.problems import Answers
from goodcert.serve.security import Security


def ask(headers=(), path="/v1/models", chunks=(b"",), keys=("right", "also"), limit=10):
    """Status and how many chunks the application got, through the middleware."""
    received, sent = [], []

    async def application(scope, receive, send):
        while True:
            message = await receive()
            received.append(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    waiting = list(chunks)

    async def receive():
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "path": path, "headers": raw, "method": "POST"}
    security = Security(application, keys=keys, max_body_bytes=limit, answers=Answers(lambda _: None))
    asyncio.run(security(scope, receive, send))
    return sent[0]["status"], len(received)


BEARER = ("Authorization", "Bearer right")


@pytest.mark.parametrize(
    "header",
    [BEARER, ("Authorization", "bearer  also"), ("X-API-Key", "right"), ("X-API-Key", "also")],
)
def test_any_configured_key_opens_either_way(header):
    assert ask([header]) == (200, 1)


@pytest.mark.parametrize("headers", [[], [("Authorization", "Basic right")], [("Authorization", "right")]])
def test_without_a_key_nothing_is_read(headers):
    assert ask(headers) == (401, 0)


@pytest.mark.parametrize("key", ["wrong", "", "righ", "rightt", "Right", "r\xefght"])
def test_a_wrong_key_is_refused(key):
    assert ask([("Authorization", f"Bearer {key}")]) == (403, 0)


@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/v1", "/", "//health/live", "/health/live/x"])
def test_everything_but_health_and_documentation_needs_a_key(path):
    assert ask(path=path)[0] == 401


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/docs"])
def test_health_is_open(path):
    assert ask(path=path)[0] == 200


def test_without_configured_keys_everything_is_open():
    assert ask(path="/metrics", keys=())[0] == 200


@pytest.mark.parametrize("length", ["11", "9" * 30, "9" * 5000])
def test_an_announced_body_that_is_too_large_is_refused_unread(length):
    assert ask([BEARER, ("Content-Length", length)], chunks=[b"x"]) == (413, 0)


@pytest.mark.parametrize("length", ["-1", "1_0", "", "ten", "1,1", "\xb2"])
def test_a_length_that_is_no_number_is_refused(length):
    assert ask([BEARER, ("Content-Length", length)]) == (400, 0)


@pytest.mark.parametrize(
    "headers",
    [
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        [("Content-Length", "5"), ("Content-Length", "5")],
    ],
)
def test_a_length_given_twice_is_refused(headers):
    assert ask([BEARER, *headers]) == (400, 0)


def test_the_largest_body_is_taken():
    assert ask([BEARER, ("Content-Length", "10")], chunks=[b"x" * 10]) == (200, 1)
