"""The client asks as the contract says, gives typed answers, and raises errors of its own."""

import email.message
import email.parser
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import wire
from goodcert.client import (
    BadRequest,
    Certificate,
    Client,
    ConnectionFailed,
    GoodcertError,
    NotFound,
    Overloaded,
    PartError,
    ServiceError,
    Timeout,
    UnreadableAnswer,
)
from goodcert.client.requests import plain_decimal

BASE = "http://service"


def _client(answer: Callable[[httpx.Request], Any], **options: Any) -> Client:
    waits: list[float] = []
    return Client(BASE, transport=httpx.MockTransport(answer), sleep=waits.append, **options)


def _asked(call: Callable[[Client], object], response: httpx.Response, **options: Any) -> httpx.Request:
    """The one request that `call` makes of a service that answers with `response`."""
    answer, requests = wire.in_turn(response)
    with _client(answer, **options) as client:
        call(client)
    (request,) = requests
    return request


def _asked_for_certificate(**options: Any) -> httpx.Request:
    response = httpx.Response(200, json=wire.certificate())
    return _asked(lambda client: client.certify(wire.PNG, **options), response)


def _parts(request: httpx.Request) -> list[email.message.Message]:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    return email.parser.BytesParser().parsebytes(head + request.content).get_payload()  # type: ignore[return-value]


def test_an_image_is_posted_as_it_is_to_the_default_model():
    request = _asked_for_certificate()
    assert (request.method, str(request.url)) == ("POST", f"{BASE}/v1/models/mnist-good100/certify")
    assert request.headers["Content-Type"] == "image/png"
    assert request.content == wire.PNG
    assert request.url.query == b""  # nothing that was not asked for


def test_options_are_asked_for_in_path_and_query():
    request = _asked_for_certificate(model="m", version="2", epsilon=0.25)
    assert request.url.path == "/v1/models/m/versions/2/certify"
    assert dict(request.url.params) == {"epsilon": "0.25"}


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="eps"):
        _asked_for_certificate(eps=0.3)


@pytest.mark.parametrize(
    ("image", "media"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff\xe0...", "image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"BM\x10\x00", "image/bmp"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", "application/octet-stream"),
        (b"GIF89a", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_media_type_is_read_from_the_first_bytes(image: bytes, media: str):
    request = _asked(lambda client: client.certify(image), httpx.Response(200, json=wire.certificate()))
    assert request.headers["Content-Type"] == media


@pytest.mark.parametrize(
    ("epsilon", "text"),
    [
        (0.3, "0.3"),
        (1, "1.0"),
        (0.0, "0.0"),
        (8 / 255, "0.03137254901960784"),
        (1e-7, "0.0000001"),
        ("0.30000000000000001", "0.30000000000000001"),
        ("1e-7", "1e-7"),
    ],
)
def test_epsilon_goes_out_without_an_exponent_and_text_as_it_is(epsilon: str | float, text: str):
    assert _asked_for_certificate(epsilon=epsilon).url.params["epsilon"] == text


def test_method_and_radius_are_asked_for_only_when_given():
    params = _asked_for_certificate(method="auto", radius=True).url.params
    assert dict(params) == {"method": "auto", "radius": "true"}
    assert not _asked_for_certificate(radius=False).url.params


@pytest.mark.parametrize("epsilon", [5e-324, 2.0**-30, 0.1 + 0.2, 1.0])
def test_epsilon_keeps_every_bit(epsilon: float):
    assert float(plain_decimal(epsilon)) == epsilon


def test_names_of_models_cannot_leave_their_place_in_the_path():
    request = _asked_for_certificate(model="a/../b?c#d")
    assert request.url.raw_path == b"/v1/models/a%2F..%2Fb%3Fc%23d/certify"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_no_path_can_hold_are_refused(name: str):
    with pytest.raises(ValueError, match="cannot name a model"):
        _asked_for_certificate(model=name)
    with pytest.raises(ValueError, match="cannot name a model"):
        _asked_for_certificate(version=name)


def test_a_base_url_may_have_a_path_of_its_own():
    answer, requests = wire.in_turn(httpx.Response(200, json={"models": []}))
    with Client("https://host/good/", transport=httpx.MockTransport(answer)) as client:  # type: ignore[arg-type]
        client.models()
    assert str(requests[0].url) == "https://host/good/v1/models"


def test_the_key_goes_out_as_a_bearer_token_and_only_if_given():
    response = {"models": []}
    with_key = _asked(Client.models, httpx.Response(200, json=response), api_key="k-1")
    without = _asked(Client.models, httpx.Response(200, json=response))
    assert with_key.headers["Authorization"] == "Bearer k-1"
    assert "Authorization" not in without.headers


@pytest.mark.parametrize("key", ["", "se cret", "secret\n", "sécret"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str):
    with pytest.raises(ValueError, match="give the bare key") as caught:
        Client(api_key=key)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "service:8000"},
        {"base_url": "ftp://service"},
        {"base_url": "http://"},
        {"base_url": "http://host:port"},
        {"base_url": "http://user:secret@host"},
        {"timeout": 0.0},
        {"timeout": float("nan")},
        {"retries": -1},
    ],
)
def test_what_cannot_work_is_refused_at_once(options: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(options))) as caught:
        Client(**options)
    assert "secret" not in str(caught.value)


def test_many_images_travel_in_one_request_in_order(tmp_path: Path):
    path = tmp_path / "photo"
    path.write_bytes(wire.JPEG)
    response = httpx.Response(200, json={"certificates": [wire.certificate(), wire.certificate()]})
    request = _asked(lambda client: client.certify_many([wire.PNG, path], epsilon=0.1), response)
    assert request.url.params["epsilon"] == "0.1"
    parts = _parts(request)
    assert [part.get_param("name", header="Content-Disposition") for part in parts] == ["images", "images"]
    assert [part.get_content_type() for part in parts] == ["image/png", "image/jpeg"]
    assert [part.get_payload(decode=True) for part in parts] == [wire.PNG, wire.JPEG]


def test_a_part_that_failed_stands_in_its_place():
    error = {"title": "Not an image", "status": 415, "detail": "", "code": "not_an_image"}
    answer, _ = wire.in_turn(
        httpx.Response(200, json={"certificates": [wire.certificate(id="a"), {"error": error}]})
    )
    with _client(answer) as client:
        first, second = client.certify_many([wire.PNG, b"?"])
    assert isinstance(first, Certificate)
    assert isinstance(second, PartError)
    assert (first.id, second.code) == ("a", "not_an_image")


def test_no_images_are_no_request():
    answer, requests = wire.in_turn()
    with _client(answer) as client:
        assert client.certify_many([]) == []
    assert requests == []


def test_models_and_one_model_are_asked_for():
    entry = {"name": "m", "version": "1", "labels": ["a"]}
    answer, requests = wire.in_turn(httpx.Response(200, json={"models": [entry]}), httpx.Response(200, json=entry))
    with _client(answer) as client:
        assert client.models() == [client.model("m")]
    assert [(request.method, request.url.path) for request in requests] == [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/m"),
    ]


def test_ready_is_an_answer_either_way_and_asked_once():
    answer, requests = wire.in_turn(httpx.Response(200), wire.problem(503, "not_ready"))
    with _client(answer) as client:
        assert [client.ready(), client.ready()] == [True, False]
    assert [request.url.path for request in requests] == ["/health/ready"] * 2


def test_a_refused_request_is_made_again_after_the_wait_it_was_told():
    answer, requests = wire.in_turn(
        wire.problem(503, "queue_full", Retry_After="2"),
        wire.problem(429, "slow_down"),
        httpx.Response(200, json={"certificates": [wire.certificate()]}),
    )
    waits: list[float] = []
    with Client(BASE, transport=httpx.MockTransport(answer), sleep=waits.append) as client:  # type: ignore[arg-type]
        client.certify_many([wire.PNG])
    first, second = waits
    assert 2.05 <= first <= 2.1
    assert 0.1 <= second <= 0.2
    assert [_parts(request)[0].get_payload(decode=True) for request in requests] == [wire.PNG] * 3


def test_after_the_last_retry_the_refusal_is_raised():
    answer, requests = wire.in_turn(*[wire.problem(503, "queue_full", Retry_After="1")] * 3)
    with _client(answer, retries=2) as client, pytest.raises(Overloaded, match="503 queue_full") as caught:
        client.certify(wire.PNG)
    assert caught.value.retry_after == 1.0
    assert len(requests) == 3


def test_waits_add_up_and_end_before_the_total():
    answer, requests = wire.in_turn(*[wire.problem(503, "queue_full", Retry_After="12")] * 4)
    with _client(answer) as client, pytest.raises(Overloaded):
        client.certify(wire.PNG)
    assert len(requests) == 3  # twice 12 seconds fit into 30, three times do not


def test_a_long_wait_is_left_to_the_caller():
    answer, requests = wire.in_turn(wire.problem(503, "loading", Retry_After="3600"))
    with _client(answer) as client, pytest.raises(Overloaded) as caught:
        client.certify(wire.PNG)
    assert caught.value.retry_after == 3600.0
    assert len(requests) == 1


@pytest.mark.parametrize(("status", "kind"), [(400, BadRequest), (404, NotFound), (500, ServiceError)])
def test_other_errors_are_raised_at_once(status: int, kind: type[ServiceError]):
    answer, requests = wire.in_turn(wire.problem(status, "some_code"))
    with _client(answer) as client, pytest.raises(kind, match=f"{status} some_code: A title: A detail."):
        client.certify(wire.PNG)
    assert len(requests) == 1


def test_the_page_of_a_proxy_is_a_service_error_with_its_status():
    answer, _ = wire.in_turn(httpx.Response(502, html="<h1>Bad gateway</h1>"))
    with _client(answer) as client, pytest.raises(ServiceError, match=r"502 unknown: Bad Gateway.*text/html"):
        client.models()


@pytest.mark.parametrize("content", [b"<html>", b"\xff\xfe\xff", b"[" * 100_000, b"", b"9" * 5000])
def test_an_answer_that_is_no_json_is_unreadable(content: bytes):
    answer, _ = wire.in_turn(httpx.Response(200, content=content))
    with _client(answer) as client, pytest.raises(UnreadableAnswer):
        client.models()


def test_a_real_service_certifies_a_file(tmp_path: Path):
    path = tmp_path / "seven.png"
    path.write_bytes(wire.PNG)
    answer, requests = wire.in_turn(httpx.Response(200, json=wire.certificate()))
    with wire.serving(answer) as base_url, Client(base_url, api_key="k") as client:
        certificate = client.certify(str(path), epsilon=0.3)
    assert certificate == Certificate.from_json(wire.certificate())
    (request,) = requests
    assert (request.url.raw_path, request.content) == (
        b"/v1/models/mnist-good100/certify?epsilon=0.3",
        wire.PNG,
    )
    assert request.headers["Authorization"] == "Bearer k"


def test_a_connection_that_breaks_before_an_answer_is_tried_again():
    answer, requests = wire.in_turn(None, httpx.Response(200, json={"models": []}))
    waits: list[float] = []
    with wire.serving(answer) as base_url, Client(base_url, sleep=waits.append) as client:
        assert client.models() == []
    assert (len(requests), len(waits)) == (2, 1)


def test_an_answer_that_breaks_off_is_unreadable_and_not_asked_for_again():
    half = httpx.Response(200, content=b'{"mod', headers={"Content-Length": "100", "Connection": "close"})
    answer, requests = wire.in_turn(half)
    with (
        wire.serving(answer) as base_url,
        Client(base_url) as client,
        pytest.raises(UnreadableAnswer, match="broke off"),
    ):
        client.models()
    assert len(requests) == 1


def test_nobody_at_the_address_is_named_with_the_address():
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        waits: list[float] = []
        with Client(base_url, sleep=waits.append) as client, pytest.raises(ConnectionFailed, match=base_url):
            client.models()
    assert len(waits) == 3


def test_a_silent_service_is_a_timeout_and_not_asked_again():
    released = threading.Event()

    def silent(request: httpx.Request) -> None:
        released.wait(30)

    with wire.serving(silent) as base_url, Client(base_url, timeout=0.05, sleep=pytest.fail) as client:
        with pytest.raises(Timeout, match="`timeout` gives it longer"):
            client.models()
        released.set()


def test_a_file_that_is_not_there_is_the_callers_own_error(tmp_path: Path):
    with _client(pytest.fail) as client, pytest.raises(FileNotFoundError):
        client.certify(tmp_path / "none.png")


def test_every_error_has_its_cause():
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody", request=request)

    with _client(broken, retries=0) as client, pytest.raises(GoodcertError) as caught:
        client.models()
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
