"""Keys and sizes, checked on the bare middleware before anything is read."""

import asyncio
from contextlib import suppress

import pytest
from prometheus_client import CollectorRegistry

from goodcert.serve.admission.admission import Admission, BytesInFlight, scope_of
from goodcert.serve.admission.keyring import Allowance, Keyring
from goodcert.serve.admission.keys import SCOPES, create
from goodcert.serve.core.errors import ServeError
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.http.middleware import RequestMiddleware
from goodcert.serve.http.problems import Answers
from goodcert.serve.telemetry.metrics import Metrics


class Guarded:
    """An application behind the middleware that reads its whole body; `ask` says how a request went."""

    def __init__(self, keyring=None, limit=10, in_flight=100):
        self.codes = []
        admission = Admission(
            keyring or Keyring(["right", "also"]),
            BytesInFlight(in_flight),
            limit,
            Lifecycle(),
            Metrics(CollectorRegistry()),
            names=frozenset,
        )
        self.middleware = RequestMiddleware(self._application, admission, Answers(self.codes.append))
        self.gate = None

    async def _application(self, _, receive, send):
        while (await receive())["more_body"]:
            pass
        if self.gate:
            await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, headers=(), path="/v1/models", chunks=(b"",), method="POST"):
        """Status, how many chunks were read, and the headers of the answer."""
        waiting, sent = list(chunks), []

        async def receive():
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

        async def send(message):
            sent.append(message)

        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
        scope = {"type": "http", "path": path, "headers": raw, "method": method}
        await self.middleware(scope, receive, send)
        return sent[0]["status"], len(chunks) - len(waiting), dict(sent[0]["headers"])


def ask(headers=(), path="/v1/models", chunks=(b"",), keys=("right", "also"), limit=10):
    """Status and how many chunks were read, by a service of its own."""
    return asyncio.run(Guarded(Keyring(keys), limit).ask(headers, path, chunks))[:2]


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


def test_a_body_that_grows_too_large_is_refused_when_it_does():
    assert ask([BEARER], chunks=[b"x" * 4] * 1000) == (413, 3)


class TestScopes:
    @pytest.mark.parametrize(
        ("method", "path", "scope"),
        [
            ("POST", "/v1/models/m/certify", "certify"),
            ("POST", "/v1/models/m/versions/1/certify", "certify"),
            ("POST", "/v2/models/m/infer", "certify"),
            ("GET", "/v1/models", "read"),
            ("GET", "/v1/certificates/1", "read"),
            ("HEAD", "/v1/models", "read"),
            ("POST", "/v2/repository/index", "read"),
            ("GET", "/metrics", "metrics"),
            ("POST", "/v2/repository/models/m/load", "admin"),
            ("POST", "/v2/repository/models/m/unload", "admin"),
            ("DELETE", "/v1/models/m", "admin"),
            ("PUT", "/v1/models/m/certify", "admin"),
            ("POST", "/anything/else", "admin"),
        ],
    )
    def test_a_key_needs_the_scope_of_what_it_asks_for_and_no_other(self, tmp_path, method, path, scope):
        file = tmp_path / "keys.json"
        assert scope_of(method, path) == scope
        for name in SCOPES:
            key = create(file, name, [name])
            guarded = Guarded(Keyring(file=file))
            status, read, _ = asyncio.run(guarded.ask([("X-API-Key", key)], path, method=method))
            assert (status, read) == ((200, 1) if name == scope else (403, 0))
            assert guarded.codes == ([] if name == scope else ["scope_missing"])


class TestAllowances:
    def test_asking_too_often_is_429_with_the_time_to_wait_and_nothing_is_read(self):
        guarded = Guarded(Keyring(["right", "also"], default=Allowance(requests_per_second=0.01)))

        async def story():
            assert (await guarded.ask([BEARER]))[0] == 200
            status, read, headers = await guarded.ask([BEARER])
            assert (status, read) == (429, 0)
            assert 95 <= int(headers[b"retry-after"]) <= 100
            assert (await guarded.ask([("X-API-Key", "also")]))[0] == 200  # another's allowance is untouched

        asyncio.run(story())
        assert guarded.codes == ["rate_limited"]

    def test_too_many_at_once_are_429_and_room_comes_back(self):
        guarded = Guarded(Keyring(["right"], default=Allowance(concurrency=2)))

        async def story():
            guarded.gate = asyncio.Event()
            inside = [asyncio.create_task(guarded.ask([BEARER])) for _ in range(2)]
            await asyncio.sleep(0)
            status, read, headers = await guarded.ask([BEARER])
            assert (status, read, headers[b"retry-after"]) == (429, 0, b"1")
            guarded.gate.set()
            assert [(await task)[0] for task in inside] == [200, 200]
            assert (await guarded.ask([BEARER]))[0] == 200

        asyncio.run(story())
        assert guarded.codes == ["key_busy"]

    def test_a_request_that_is_cancelled_or_fails_leaves_its_place(self):
        guarded = Guarded(Keyring(["right"], default=Allowance(concurrency=1)), in_flight=10)

        async def story():
            guarded.gate = asyncio.Event()
            inside = asyncio.create_task(guarded.ask([BEARER], chunks=[b"x" * 10]))
            await asyncio.sleep(0)
            inside.cancel()
            with suppress(asyncio.CancelledError):
                await inside
            assert (await guarded.ask([BEARER], chunks=[b"x" * 6, b"x" * 6]))[0] == 413
            guarded.gate = None
            assert (await guarded.ask([BEARER], chunks=[b"x" * 10]))[0] == 200

        asyncio.run(story())


class TestBytesInFlight:
    def test_bodies_together_are_limited_announced_or_not_and_room_comes_back(self):
        guarded = Guarded(limit=60)

        async def story():
            guarded.gate = asyncio.Event()
            inside = asyncio.create_task(guarded.ask([BEARER], chunks=[b"x" * 60]))
            await asyncio.sleep(0)
            status, read, headers = await guarded.ask([BEARER, ("Content-Length", "41")], chunks=[b"x" * 41])
            assert (status, read, headers[b"retry-after"]) == (503, 0, b"1")
            assert (await guarded.ask([BEARER], chunks=[b"x" * 20] * 3))[:2] == (503, 3)
            guarded.gate.set()
            assert (await inside)[0] == 200
            assert (await guarded.ask([BEARER], chunks=[b"x" * 60]))[0] == 200

        asyncio.run(story())
        assert guarded.codes == ["bodies_full"] * 2

    def test_announcing_much_and_sending_nothing_keeps_nobody_out(self):
        guarded = Guarded(limit=100)

        async def story():
            guarded.gate = asyncio.Event()
            silent = [BEARER, ("Content-Length", "100")]
            inside = [asyncio.create_task(guarded.ask(silent, chunks=[b""])) for _ in range(50)]
            await asyncio.sleep(0)
            other = asyncio.create_task(guarded.ask([BEARER], chunks=[b"x" * 100]))
            guarded.gate.set()
            assert {(await task)[0] for task in (*inside, other)} == {200}

        asyncio.run(story())


def test_an_error_of_the_application_is_answered_as_a_problem():
    class Refusal(ServeError):
        pass

    guarded = Guarded()

    async def application(scope, receive, send):
        raise Refusal("a secret")

    guarded.middleware._app = application
    assert asyncio.run(guarded.ask([BEARER]))[0] == 500
    assert guarded.codes == ["internal_error"]
