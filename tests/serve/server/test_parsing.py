"""Offers to speak another protocol are not heard: n requests get n answers, and bodies arrive."""

import asyncio
import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raw_http import CERTIFY, CHUNKED, CLOSE, HOST, LIVE, connect, connected, read, say, status

INNER = f"GET /metrics HTTP/1.1\r\n{HOST}X-API-Key: right\r\n\r\n".encode()
OFFERS = [
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    "Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n",
    "Upgrade: TLS/1.0\r\nConnection: upgrade\r\nUPGRADE: TLS/1.2, foo/7\r\n",
    "upgrade:\r\nconnection:Upgrade\r\n",
    "CONNECTION: upgrade\r\nUpgrade:  HTTP/2.0 \t\r\n",
    "Connection: keep-alive\r\nConnection: upgrade\r\nUpgrade: unheard of\r\n",
    "Upgrade: h2c\r\n",
    "Connection: upgrade\r\n",
    "",
]
offered = pytest.mark.parametrize("offer", OFFERS[:3])


@dataclass(frozen=True)
class Asked:
    """A request. cuts: where a chunked body is cut; None for one whose length is told."""

    method: str
    version: str
    offer: str
    offer_first: bool
    body: bytes | None
    cuts: list[int] | None
    trailers: str

    def written(self, path: str) -> bytes:
        framing, content = self._framed()
        headers = self.offer + framing if self.offer_first else framing + self.offer
        return f"{self.method} {path} {self.version}\r\n{HOST}{headers}\r\n".encode() + content

    def _framed(self) -> tuple[str, bytes]:
        if self.body is None:
            return "", b""
        if self.cuts is None:
            return f"Content-Length: {len(self.body)}\r\n", self.body
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces(self.body, self.cuts))
        return CHUNKED, chunks + f"0\r\n{self.trailers}\r\n".encode()


def pieces(data, cuts):
    """Data, cut there, without empty pieces."""
    ends = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(ends) if start < end]


cuts = st.lists(st.integers(0, 10**6), max_size=8)
bodies = st.none() | st.binary(max_size=60) | st.just(INNER) | st.just(INNER + INNER)


def requests(*versions):
    return st.builds(
        Asked,
        method=st.sampled_from(["POST", "PUT", "GET", "M-SEARCH"]),
        version=st.sampled_from(versions),
        offer=st.sampled_from(OFFERS),
        offer_first=st.booleans(),
        body=bodies,
        cuts=st.none() | cuts,
        trailers=st.sampled_from(OFFERS),
    )


class Application:
    """Keeps what it is asked: (method, path, body)."""

    def __init__(self):
        self.asked = []

    async def __call__(self, scope, receive, send):
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event["body"], event["more_body"]
        self.asked.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


async def heard(segments):
    """What reaches the application when these segments arrive, and how many answers leave."""
    application = Application()
    connection, transport = await connected([], application)
    for segment in segments:
        connection.data_received(segment)
        await asyncio.sleep(0)
    while connection.tasks:
        await asyncio.gather(*connection.tasks)
        await asyncio.sleep(0)
    return application.asked, transport.written.count(b"HTTP/1.1 ")


@given(st.lists(requests("HTTP/1.1"), max_size=8), requests("HTTP/1.1", "HTTP/1.0"), cuts)
@settings(max_examples=200)
def test_however_requests_are_split_each_gets_one_answer_and_its_whole_body(kept, last, where):
    asked = [*kept, last]
    data = b"".join(request.written(f"/{number}") for number, request in enumerate(asked))
    got, answers = asyncio.run(heard(pieces(data, where)))
    assert got == [(each.method, f"/{number}", each.body or b"") for number, each in enumerate(asked)]
    assert answers == len(asked)


@offered
def test_cut_at_every_byte_too(offer):
    request = Asked("POST", "HTTP/1.1", offer, True, INNER, [7], offer)
    data = request.written("/0") + request.written("/1")
    expected = [("POST", "/0", INNER), ("POST", "/1", INNER)], 2
    for cut in range(len(data)):
        assert asyncio.run(heard(pieces(data, [cut]))) == expected
    assert asyncio.run(heard([bytes([byte]) for byte in data])) == expected


@offered
def test_an_upload_with_an_offer_gets_its_certificate_and_the_connection_goes_on(start, png, offer):
    with start(idle_timeout_ms=300) as service:
        upload = f"{CERTIFY}{offer}Content-Length: {len(png)}\r\n\r\n".encode() + png
        answer = say(service, upload + upload + f"{LIVE}{offer}\r\n".encode())
        assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"HTTP/1.1 ") == 3


@offered
@pytest.mark.parametrize("framing", [f"Content-Length: {len(INNER)}\r\n", CHUNKED])
def test_a_body_that_comes_after_its_headers_is_no_request(start, offer, framing):
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER) if framing is CHUNKED else INNER
    head = f"{CERTIFY}{offer}{framing}X-API-Key: right\r\nExpect: 100-continue\r\n"
    with start(api_keys="right", idle_timeout_ms=300) as service, connect(service, f"{head}\r\n") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 ")  # so the headers were read alone
        connection.sendall(body)
        answer = read(connection)
    assert (status(answer), answer.count(b"HTTP/1.1 ")) == (415, 1)


def test_an_offer_does_not_hide_a_second_framing(start):
    with start(api_keys="right", idle_timeout_ms=300) as service:
        framing = f"Content-Length: {len(INNER)}\r\n{CHUNKED}"
        answer = say(service, f"{CERTIFY}{OFFERS[0]}{framing}\r\n0\r\n\r\n".encode() + INNER)
        assert (status(answer), answer.count(b"HTTP/1.1 ")) == (400, 1)


def test_offers_without_end_are_refused_or_answered(start, png):
    with start(idle_timeout_ms=300) as service:
        answer = say(service, f"{LIVE}{OFFERS[0]}\r\n" * 10_000)
        assert {part.split(b" ", 1)[0] for part in answer.split(b"HTTP/1.1 ")[1:]} <= {b"200", b"400"}
        assert service.certify(png, headers={"Connection": "close"}).status_code == 200


def test_after_a_last_request_with_an_offer_nothing_is_answered(start):
    with start(idle_timeout_ms=300) as service:
        answer = say(service, f"{LIVE}{CLOSE}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n".encode() + INNER)
        assert (status(answer), answer.count(b"HTTP/1.1 ")) == (200, 1)
