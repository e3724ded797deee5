"""Raw bytes to a real server: slow, silent, malformed and greedy connections."""

import asyncio
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from raw_http import CERTIFY, CHUNKED, CLOSE, HOST, LIVE, connect, connected, read, say, status

SHORT = {"header_timeout_ms": 300, "body_timeout_ms": 300, "idle_timeout_ms": 300}
OFFER = "Connection: upgrade\r\nUpgrade: h2c\r\n"


def pour(connection, data):
    """Send the same again and again until the server has had enough."""
    for _ in range(10**7):
        connection.sendall(data)


def problem(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert b"connection: close" in head
    return json.loads(body)["code"]


@pytest.fixture
def hasty(start):
    with start(**SHORT) as service:
        yield service


class TestSlowness:
    def test_a_connection_that_says_nothing_is_closed(self, hasty):
        assert say(hasty, "") == b""

    @pytest.mark.parametrize("data", ["G", LIVE, f"{LIVE}X-A: b\r\n", "\r\n\r\nGET "])
    def test_headers_that_do_not_end_are_answered_408(self, hasty, data):
        assert problem(say(hasty, data)) == "headers_too_slow"

    @pytest.mark.parametrize(
        "data", [f"{CERTIFY}Content-Length: 9\r\n\r\nabc", f"{CERTIFY}Transfer-Encoding: chunked\r\n\r\n3\r\nabc"]
    )
    def test_a_body_that_does_not_end_is_answered_408(self, hasty, data):
        assert problem(say(hasty, data)) == "body_too_slow"

    def test_a_kept_connection_without_another_request_is_closed(self, hasty):
        assert say(hasty, f"{LIVE}\r\n").endswith(b'{"status":"live"}')

    def test_bytes_that_drip_win_no_time(self, hasty):
        began = time.monotonic()
        with connect(hasty, LIVE) as connection:
            connection.settimeout(0.02)
            while time.monotonic() < began + 8:
                try:
                    connection.sendall(b"X: y\r\n")
                    if connection.recv(65536):
                        break
                except TimeoutError:
                    continue
        assert time.monotonic() < began + 2

    def test_a_refused_upload_that_goes_on_for_ever_is_cut_off(self, start):
        with (
            start(**SHORT, api_keys="right") as service,
            connect(service, f"{CERTIFY}{CHUNKED}\r\n") as connection,
            pytest.raises((BrokenPipeError, ConnectionResetError)),
        ):
            pour(connection, b"400\r\n" + b"x" * 1024 + b"\r\n")

    def test_a_client_that_asks_and_asks_and_never_reads_is_broken_off(self, start):
        with (
            start(**SHORT) as service,
            connect(service) as connection,
            pytest.raises((BrokenPipeError, ConnectionResetError)),
        ):
            pour(connection, f"GET /openapi.json HTTP/1.1\r\n{HOST}\r\n".encode())

    def test_two_hundred_slow_connections_are_not_noticed_and_all_closed(self, start, png):
        with (
            # The good client's own connection must not be closed while it waits for the slow ones.
            start(header_timeout_ms=2000, body_timeout_ms=2000, idle_timeout_ms=60_000) as service,
            ExitStack() as stack,
        ):
            alone = _seconds(service, png, 40)
            slow = [
                "",
                LIVE,
                f"{CERTIFY}Content-Length: 99\r\n\r\nx",
                f"{CERTIFY}Transfer-Encoding: chunked\r\n\r\n",
            ]
            connections = [stack.enter_context(connect(service, slow[i % 4])) for i in range(200)]
            among = _seconds(service, png, 40)
            assert sorted(among)[20] < 3 * sorted(alone)[20] + 0.05
            with ThreadPoolExecutor(20) as readers:
                answers = list(readers.map(read, connections))
            assert {status(answer) for answer in answers} == {None, 408}
            assert service.certify(png).status_code == 200


def _seconds(service, png, times):
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        assert service.certify(png).status_code == 200
        taken.append(time.perf_counter() - began)
    return taken


class TestCrowds:
    def test_too_many_connections_push_out_those_that_wait(self, start, png):
        with start(max_connections=20) as service, ExitStack() as stack:
            waiting = [stack.enter_context(connect(service, LIVE)) for _ in range(60)]
            assert service.certify(png).status_code == 200
            with ThreadPoolExecutor(60) as readers:
                gone = list(readers.map(lambda each: _is_closed(each), waiting))
            assert sum(gone) >= 40

    def test_where_all_are_busy_the_next_is_refused_with_503(self, start, png):
        with start(max_connections=2) as service, ExitStack() as stack:
            service.engines[0].gate.clear()
            ask = f"{CERTIFY}Content-Length: {len(png)}\r\n\r\n".encode() + png
            busy = [stack.enter_context(connect(service, ask)) for _ in range(2)]
            assert service.engines[0].entered.wait(30)
            with connect(service) as third:
                answer = read(third)
            assert (problem(answer), b"Retry-After: 1" in answer) == ("too_many_connections", True)
            service.engines[0].gate.set()
            assert [status(each.recv(4096)) for each in busy] == [200, 200]


def _is_closed(connection):
    connection.settimeout(0.5)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


MALFORMED = {
    "two framings": f"{CERTIFY}Content-Length: 3\r\n{CHUNKED}\r\n0\r\n\r\n",
    "two framings, the other way round": f"{CERTIFY}{CHUNKED}Content-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": f"{CERTIFY}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "two different lengths": f"{CERTIFY}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "a list of lengths": f"{CERTIFY}Content-Length: 3, 3\r\n\r\nabc",
    "a negative length": f"{CERTIFY}Content-Length: -3\r\n\r\nabc",
    "a length with a plus": f"{CERTIFY}Content-Length: +3\r\n\r\nabc",
    "a hexadecimal length": f"{CERTIFY}Content-Length: 0x3\r\n\r\nabc",
    "a length beyond 64 bits": f"{CERTIFY}Content-Length: {10**30}\r\n\r\nabc",
    "an unknown coding": f"{CERTIFY}Transfer-Encoding: gzip\r\n\r\n",
    "a coding after chunked": f"{CERTIFY}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": f"{CERTIFY}{CHUNKED}{CHUNKED}\r\n0\r\n\r\n",
    "a disguised coding": f"{CERTIFY}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": f"{CERTIFY}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": f"{CERTIFY}{CHUNKED}\r\nxyz\r\n",
    "a negative chunk": f"{CERTIFY}{CHUNKED}\r\n-1\r\nabc\r\n",
    "a huge chunk size": f"{CERTIFY}{CHUNKED}\r\n{'f' * 40}\r\nabc\r\n",
    "a chunk longer than it says": f"{CERTIFY}{CHUNKED}\r\n1\r\nabc\r\n0\r\n\r\n",
    "a folded header": f"{LIVE}X-A: b\r\n c\r\n{CLOSE}\r\n",
    "a header without a name": f"{LIVE}: b\r\n{CLOSE}\r\n",
    "a header without a colon": f"{LIVE}nonsense\r\n{CLOSE}\r\n",
    "a zero byte": f"{LIVE}X: \0\r\n{CLOSE}\r\n",
    "a bare carriage return": f"{LIVE}X: a\rb\r\n{CLOSE}\r\n",
    "another version": f"GET /health/live HTTP/9.9\r\n{HOST}\r\n",
    "HTTP/2 out of the blue": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a TLS handshake": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 64,
    "another protocol": "EHLO example.org\r\n",
    "noise": "\x00\xff\x80\x7f" * 50 + "\r\n\r\n",
    "a path with a space": f"GET /health /live HTTP/1.1\r\n{HOST}\r\n",
    "a path beyond ASCII": f"GET /h\xe9 HTTP/1.1\r\n{HOST}\r\n",
    "an empty target": f"GET  HTTP/1.1\r\n{HOST}\r\n",
    "a target that is an authority": f"CONNECT example.org:443 HTTP/1.1\r\n{HOST}\r\n",
    "a tunnel with something in it": f"CONNECT x:1 HTTP/1.1\r\n{HOST}Content-Length: 38\r\n\r\n{LIVE}\r\n",
    "a tunnel that is an offer, too": f"CONNECT x:1 HTTP/1.1\r\n{HOST}{OFFER}\r\n{LIVE}\r\n",
    "a scheme without a host": f"GET http:// HTTP/1.1\r\n{HOST}\r\n",
    "a port that is none": f"GET http://x:99999999/ HTTP/1.1\r\n{HOST}\r\n",
}
ODD = {
    "an absolute target": (f"GET http://x/health/live HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 200),
    "an absolute target without a path": (f"GET http://x HTTP/1.1\r\n{HOST}{CLOSE}\r\n", None),
    "an asterisk": (f"OPTIONS * HTTP/1.1\r\n{HOST}{CLOSE}\r\n", None),
    "a percent sign alone": (f"GET /%zz%% HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "an encoded zero": (f"GET /v1/models/%00 HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "bytes that are no UTF-8": (f"GET /v1/models/%ff%fe HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "dots": (f"GET /../../etc/passwd HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 404),
    "no host": (f"GET /health/live HTTP/1.1\r\n{CLOSE}\r\n", None),
    "two hosts": (f"{LIVE}Host: y\r\n{CLOSE}\r\n", None),
    "no version": (f"GET /health/live\r\n{HOST}\r\n", None),
    "HTTP/1.0": ("GET /health/live HTTP/1.0\r\n\r\n", 200),
    "an old method": (f"TRACE /v1/models HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 405),
    "a method of another protocol": (f"PROPFIND /v1/models HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 405),
    "a method that nobody knows": (f"BREW /v1/models HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 400),
    "a method in small letters": (f"get /health/live HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 400),
    "an answer without a body": (f"HEAD /v1/models HTTP/1.1\r\n{HOST}{CLOSE}\r\n", 405),
    "an offer of another protocol": (f"{LIVE}{OFFER}\r\n", 200),
    "a WebSocket": (f"{LIVE}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 200),
    "an upload that would be a WebSocket": (
        f"{CERTIFY}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
        415,
    ),
    "an expectation": (f"{CERTIFY}Expect: 100-continue\r\nContent-Length: 3\r\n{CLOSE}\r\nabc", None),
    "an unknown expectation": (f"{CERTIFY}Expect: wonders\r\nContent-Length: 3\r\n{CLOSE}\r\nabc", 415),
    "trailers": (f"{CERTIFY}{CHUNKED}{CLOSE}\r\n3\r\nabc\r\n0\r\nX-Api-Key: y\r\n\r\n", 415),
    "an extension of a chunk": (f"{CERTIFY}{CHUNKED}{CLOSE}\r\n3;a=b\r\nabc\r\n0\r\n\r\n", 415),
    "a body where none belongs": (f"{LIVE}Content-Length: 3\r\n{CLOSE}\r\nabc", 200),
    "a bare line feed": (f"{LIVE}{CLOSE}\r\n".replace("\r", ""), None),
}


class TestFraming:
    @pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
    def test_what_is_no_http_is_a_400_or_a_refusal_and_the_connection_is_closed(self, hasty, png, data):
        answer = say(hasty, data)
        assert status(answer) in {400, 413}
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"application/problem+json" in answer
        assert hasty.certify(png).status_code == 200

    @pytest.mark.parametrize(("data", "expected"), ODD.values(), ids=ODD)
    def test_what_is_odd_is_answered_and_never_with_a_fault_of_ours(self, hasty, png, data, expected):
        code = status(say(hasty, data))
        assert code == expected if expected else code is not None and code < 500
        assert hasty.certify(png).status_code == 200

    @pytest.mark.parametrize(
        "data", [f"{LIVE}X: {'a' * 400_000}", LIVE + "X: y\r\n" * 70_000, "GET /" + "a" * 400_000]
    )
    def test_headers_without_end_are_cut_off(self, hasty, data):
        answer = say(hasty, data)
        assert answer == b"" or problem(answer) == "headers_too_large"

    def test_trailers_add_nothing_to_the_headers(self, start):
        with start(**SHORT, api_keys="right") as service:
            answer = say(service, f"{CERTIFY}{CHUNKED}{CLOSE}\r\n0\r\nX-Api-Key: right\r\n\r\n")
            assert status(answer) == 401

    def test_requests_in_one_go_are_answered_in_order(self, hasty):
        paths = ["/health/live", "/nothing", "/v1/models", "/health/ready"]
        asked = "".join(f"GET {path} HTTP/1.1\r\n{HOST}\r\n" for path in paths)
        codes = [int(part.split(b" ", 1)[0]) for part in say(hasty, asked).split(b"HTTP/1.1 ")[1:]]
        assert codes == [200, 404, 200, 200]

    def test_nonsense_after_a_request_does_not_cost_it_its_answer(self, hasty):
        answer = say(hasty, f"{LIVE}\r\nnonsense\r\n\r\n")
        assert (status(answer), b'"live"' in answer) == (200, True)

    def test_ten_thousand_requests_in_one_go_are_refused_or_answered(self, hasty, png):
        answer = say(hasty, f"{LIVE}\r\n" * 10_000)
        codes = {part.split(b" ", 1)[0] for part in answer.split(b"HTTP/1.1 ")[1:]}
        assert codes <= {b"200", b"400"}
        assert hasty.certify(png).status_code == 200

    def test_a_second_framing_cannot_smuggle_a_request(self, start):
        with start(**SHORT, api_keys="right") as service:
            inner = f"GET /metrics HTTP/1.1\r\n{HOST}X-API-Key: right\r\n\r\n"
            answer = say(service, f"{CERTIFY}Content-Length: {len(inner)}\r\n{CHUNKED}\r\n0\r\n\r\n{inner}")
            assert answer.count(b"HTTP/1.1 ") == 1
            assert status(answer) == 400


def test_head_and_body_of_an_answer_are_sent_together():
    async def story():
        connection, transport = await connected([])
        connection.data_received(f"{LIVE}\r\n".encode())
        while not transport.written:
            await asyncio.sleep(0)
        assert transport.written.endswith(b"\r\n\r\nok")
        assert transport.writes == 1

    asyncio.run(story())


def test_what_is_written_before_hanging_up_is_sent():
    async def story():
        connection, transport = await connected([])
        connection.data_received(b"nonsense\r\n\r\n")
        assert transport.written.startswith(b"HTTP/1.1 400")
        assert transport.closed

    asyncio.run(story())


def test_who_does_not_take_the_answer_is_hung_up_on_and_then_broken_off():
    async def story():
        connection, transport = await connected([])
        connection.data_received(f"{LIVE}\r\n".encode())
        await asyncio.gather(*connection.tasks)
        assert transport.written.endswith(b"ok")
        connection.pause_writing()
        connection.give_up(connection.due)
        assert (transport.closed, transport.aborted) == (True, False)
        assert connection.due < connection.loop.time() + 1
        connection.give_up(connection.due)
        assert transport.aborted

    asyncio.run(story())


def test_every_phase_has_its_own_deadline():
    async def story():
        connection, _ = await connected(codes := [])
        clock = connection.loop.time
        assert connection.due == pytest.approx(clock() + 2, abs=0.5)
        connection.data_received(CERTIFY.encode())
        assert connection.due == pytest.approx(clock() + 2, abs=0.5)
        connection.data_received(b"Content-Length: 3\r\n\r\na")
        assert connection.due == pytest.approx(clock() + 3, abs=0.5)
        connection.data_received(b"bc")
        assert connection.due == math.inf
        await asyncio.gather(*connection.tasks)
        assert connection.due == pytest.approx(clock() + 1, abs=0.5)
        assert codes == []

    asyncio.run(story())
