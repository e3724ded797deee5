"""One POST to an address that was looked at: no rebinding, no redirects, no end of an answer, TLS by name."""

import asyncio
import socket
import ssl

import pytest

from goodcert.serve.events.webhook_client import DeliveryFailed, WebhookClient
from pem import certify
from serve.events.conftest import Speaker, receiving, trigger

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class Names:
    """A resolver whose answers are given: the first lookup gets the first, and so on."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, host, _):
        self.asked.append(host)
        return self.answers.pop(0)


def post(url, names, body=b"{}", **changes):
    """The answer within ten seconds."""

    async def run():
        target = WebhookClient(trigger(url=url, **changes), names)
        async with asyncio.timeout(10):
            return await target.post({"webhook-id": "msg_1"}, body)

    return asyncio.run(run())


def test_the_request_goes_to_the_address_under_the_name_and_the_name_is_asked_once():
    names = Names(["127.0.0.1"])
    with Speaker(OK) as speaker:
        assert post(f"http://hooks.example:{speaker.port}/a?b=c", names) == (204, 0)
    head = speaker.heard[0].decode().lower().split("\r\n")
    assert head[0] == "post /a?b=c http/1.1"
    assert f"host: hooks.example:{speaker.port}" in head
    assert {"content-length: 2", "webhook-id: msg_1", "connection: close"} <= set(head)
    assert names.asked == ["hooks.example"]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]]
)
def test_a_name_with_any_inner_address_is_not_connected_to(addresses, files):
    with Speaker(OK) as speaker, pytest.raises(DeliveryFailed, match="private address"):
        post(f"https://hooks.example:{speaker.port}/", Names(addresses), allow_private=False)
    assert speaker.heard == []


def test_a_name_that_turns_inward_between_deliveries_is_refused_then():
    target = WebhookClient(trigger(url="https://hooks.example/", allow_private=False), Names(["127.0.0.1"]))
    with pytest.raises(DeliveryFailed, match="private address"):
        asyncio.run(target.post({}, b""))


def test_the_second_address_is_tried_when_the_first_does_not_answer(free_port):
    with Speaker(OK) as speaker:
        assert post(f"http://hooks.example:{speaker.port}/", Names(["127.0.0.9", "127.0.0.1"])).status == 204


def test_nobody_there_is_a_failure_that_names_no_address(free_port):
    with pytest.raises(DeliveryFailed) as failed:
        post(f"http://hooks.example:{free_port}/", Names(["127.0.0.1"]))
    assert "127" not in str(failed.value)


def test_a_redirect_is_an_answer_and_not_followed():
    with Speaker(OK) as elsewhere:
        location = f"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:{elsewhere.port}/\r\nContent-Length: 0\r\n\r\n"
        with Speaker(location.encode()) as speaker:
            assert post(f"http://hooks.example:{speaker.port}/", Names(["127.0.0.1"])).status == 307
    assert elsewhere.heard == []


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 2**20, 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbroken", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 204),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 429 Busy\r\nRetry-After: " + b"9" * 999 + b"\r\nContent-Length: 0\r\n\r\n", 429),
        (b"HTTP/1.1 500 Busy\r\nRetry-After: -1e9\r\nContent-Length: 0\r\n\r\n", 500),
    ],
)
def test_of_an_answer_only_the_status_counts_however_much_follows(answer, status):
    with Speaker(answer) as speaker:
        answered = post(f"http://hooks.example:{speaker.port}/", Names(["127.0.0.1"]))
    assert answered == (status, {503: 7, 429: 86_400}.get(status, 0))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2**16,
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
def test_what_is_no_answer_is_a_failure_after_some_kilobytes(answer):
    with Speaker(answer) as speaker, pytest.raises(DeliveryFailed):
        post(f"http://hooks.example:{speaker.port}/", Names(["127.0.0.1"]))


def test_a_name_that_does_not_resolve_is_a_failure():
    async def nowhere(host, port):
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(DeliveryFailed, match="gaierror"):
        post("http://hooks.example/", nowhere)


@pytest.fixture
def files(tmp_path):
    return certify(tmp_path / "tls")


def tls_speaker(files, inbox):
    """A receiver with a certificate for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["tls_certificate"], files["tls_key"])
    return receiving(inbox, context=context)


def test_tls_asks_for_the_name_of_the_url_and_trusts_whom_it_is_told_to(files, inbox):
    ca = {"ca_file": files["tls_certificate"]}
    with tls_speaker(files, inbox) as port:
        assert post(f"https://127.0.0.1:{port}/", Names(["127.0.0.1"]), **ca).status == 401  # unsigned
        with pytest.raises(DeliveryFailed, match="SSLCertVerificationError"):
            post(f"https://hooks.example:{port}/", Names(["127.0.0.1"]), **ca)
        with pytest.raises(DeliveryFailed, match="SSLCertVerificationError"):
            post(f"https://127.0.0.1:{port}/", Names(["127.0.0.1"]))


def test_tls_says_the_name_and_not_the_address(files, inbox):
    context, said = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), []
    context.load_cert_chain(files["tls_certificate"], files["tls_key"])
    context.sni_callback = lambda _, name, __: said.append(name)
    with receiving(inbox, context=context) as port, pytest.raises(DeliveryFailed):
        post(f"https://hooks.example:{port}/", Names(["127.0.0.1"]))
    assert said == ["hooks.example"]


def test_a_receiver_that_never_shakes_hands_is_hung_up_on_at_the_deadline():
    async def run(port):
        client = WebhookClient(trigger(url=f"https://hooks.example:{port}/"), Names(["127.0.0.1"]))
        posting = asyncio.create_task(client.post({}, b"{}"))
        await asyncio.to_thread(speaker.begun.wait, 10)
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting
        return await asyncio.to_thread(speaker.left.wait, 10)

    with Speaker(b"") as speaker:
        assert asyncio.run(run(speaker.port))
