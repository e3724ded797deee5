"""Triggers, certificates that raise them, and receivers that remember."""

import socket
import threading
from base64 import b64encode
from contextlib import contextmanager

import pytest

from goodcert.serve.events.receiver import Receiver
from goodcert.serve.settings.trigger_rules import Trigger
from serve.ledger.conftest import body, server, url  # noqa: F401  fixtures

SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + b64encode(bytes(32)).decode()


def trigger(**changes):
    """One that may call loopback, for rejected images."""
    given = {"name": "person", "url": "http://127.0.0.1:9/", "secret": SECRET, "allow_private": True}
    if not any(key.startswith(("verdicts", "confidence", "rejected")) for key in changes):
        changes["verdicts"] = ("out_of_distribution",)
    return Trigger(**(given | changes))


class Speaker:
    """Listens on loopback, says `answer` to whoever connects, and keeps what it was told. begun, left: whether
    anybody has said something, and hung up after it."""

    def __init__(self, answer):
        self.answer, self.heard = answer, []
        self.begun, self.left = threading.Event(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._speak)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _speak(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    self.heard.append(connection.recv(2**16))
                    self.begun.set()
                    connection.sendall(self.answer)
                    while connection.recv(2**16):
                        pass
                    self.left.set()
                except OSError:
                    pass


class Inbox:
    """What a receiver got, as (id, payload); `answers` are the statuses to come, 204 when there is none."""

    def __init__(self):
        self.got, self.answers = [], []
        self._news = threading.Condition()

    def take(self, identity, payload):
        with self._news:
            self.got.append((identity, payload))
            self._news.notify_all()
            return self.answers.pop(0) if self.answers else 204

    def wait_for(self, count, seconds=60):
        with self._news:
            assert self._news.wait_for(lambda: len({i for i, _ in self.got}) >= count, seconds), self.got


@contextmanager
def receiving(inbox, port=0, secrets=(SECRET,), context=None):
    """The port of a receiver; context: for TLS."""
    with Receiver("127.0.0.1", port, secrets, inbox.take) as receiver:
        if context is not None:
            receiver.socket = context.wrap_socket(receiver.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver.server_port
        finally:
            receiver.shutdown()
            thread.join()


@pytest.fixture
def inbox():
    return Inbox()
