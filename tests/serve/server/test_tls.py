"""HTTPS with a certificate that is made here."""

import socket
import ssl

import grpc
import httpx
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from goodcert.serve.oip.grpc_server import bind
from goodcert.serve.server import tls
from goodcert.serve.settings.settings import Settings, SettingsError
from pem import certify


@pytest.fixture
def files(tmp_path):
    return certify(tmp_path / "tls")


@pytest.fixture
def trusting(files):
    return ssl.create_default_context(cafile=files["tls_certificate"])


def speak(port, context):
    """The version of TLS that client and service agree on."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as secure,
    ):
        return secure.version()


def test_grpc_speaks_tls_wherever_http_does(start, files, trusting):
    root = files["tls_certificate"].read_bytes()
    with start(grpc_port=0, verify=trusting, **files) as service:
        address = f"127.0.0.1:{service.app.state.grpc_port}"
        credentials = grpc.ssl_channel_credentials(root)
        with triton.InferenceServerClient(address, ssl=True, creds=credentials) as client:
            assert client.is_server_live()
        with triton.InferenceServerClient(address) as stranger, pytest.raises(InferenceServerException):
            stranger.is_server_live(client_timeout=5)


def test_grpc_is_not_started_where_it_cannot_be_held_to_the_oldest_version(files):
    with pytest.raises(SettingsError, match="allow 1"):
        bind(None, Settings(grpc_port=0, tls_minimum_version="1.3", **files), 1)


def test_a_certificate_is_given_over_https_and_to_nobody_over_http(start, files, trusting, png):
    with start(verify=trusting, **files) as service:
        assert service.certify(png).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{service.port}/health/live", timeout=10)
        assert service.certify(png).status_code == 200


def test_a_client_that_does_not_know_the_certificate_hangs_up(start, files):
    with start(**files) as service, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        service.client.get("/health/live")


@pytest.mark.parametrize(("minimum", "spoken"), [("1.2", "TLSv1.2"), ("1.3", None)])
def test_versions_below_the_minimum_are_not_spoken(start, files, trusting, minimum, spoken):
    with start(verify=trusting, tls_minimum_version=minimum, **files) as service:
        assert speak(service.port, trusting) == "TLSv1.3"
        trusting.maximum_version = ssl.TLSVersion.TLSv1_2
        if spoken:
            assert speak(service.port, trusting) == spoken
        else:
            with pytest.raises(ssl.SSLError):
                speak(service.port, trusting)


def test_what_is_older_than_tls_1_2_is_never_spoken(files):
    assert tls.context(Settings(**files)).minimum_version == ssl.TLSVersion.TLSv1_2
    with pytest.raises(ValueError, match="tls_minimum_version"):
        Settings(tls_minimum_version="1.1", **files)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"])
def test_who_never_finishes_the_handshake_is_closed(start, files, trusting, png, said):
    with start(verify=trusting, header_timeout_ms=300, **files) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=10) as silent:
            silent.sendall(said)
            assert silent.recv(100) in (b"",)
        assert service.certify(png).status_code == 200


def test_who_is_silent_after_it_is_closed_too(start, files, trusting):
    with (
        start(verify=trusting, header_timeout_ms=300, **files) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection,
        trusting.wrap_socket(connection, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.recv(100) == b""


class TestFiles:
    def test_a_key_of_another_certificate_is_refused_at_start(self, tmp_path, files):
        other = certify(tmp_path / "other")
        with pytest.raises(SettingsError, match="belong together"):
            tls.context(Settings(tls_certificate=files["tls_certificate"], tls_key=other["tls_key"]))

    def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(self, tmp_path):
        with pytest.raises(SettingsError, match="without a password"):
            tls.context(Settings(**certify(tmp_path / "locked", password=b"secret")))

    def test_one_file_alone_is_refused(self, files):
        with pytest.raises(ValueError, match="expected both or none"):
            Settings(tls_certificate=files["tls_certificate"])

    def test_a_file_that_is_not_there_is_refused(self, tmp_path, files):
        with pytest.raises(ValueError, match="tls_key"):
            Settings(**files | {"tls_key": tmp_path / "nowhere"})
