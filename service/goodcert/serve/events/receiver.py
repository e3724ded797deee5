"""A receiver of webhooks that verifies signatures: for trying triggers out, not for production."""

from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

MOST_BYTES = 2**25

OnMessage = Callable[[str, bytes], int]
"""Is told the id and the payload of a webhook that is genuine; says the status to answer with."""


class Receiver(ThreadingHTTPServer):
    """port: 0 takes a free one. secrets: one of them must have signed, else the answer is 401."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, secrets: Sequence[str], on_message: OnMessage) -> None:
        super().__init__((host, port), _Handler)
        self._webhooks = [Webhook(secret) for secret in secrets]
        self._on_message = on_message

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The status to answer with."""
        if not any(_is_genuine(webhook, headers, body) for webhook in self._webhooks):
            return 401
        return self._on_message(headers["webhook-id"], body)


def _is_genuine(webhook: Webhook, headers: dict[str, str], body: bytes) -> bool:
    """Whether it was signed within the last five minutes. Of broken headers the library says ValueError."""
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = 10

    def do_POST(self) -> None:
        size = self.headers.get("content-length", "")
        if not size.isdigit() or int(size) > MOST_BYTES:
            self._end(411 if not size else 413)
            return
        body = self.rfile.read(int(size))
        self._end(self.server.take({name.lower(): value for name, value in self.headers.items()}, body))

    def _end(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Whoever is told of messages says what is to be said."""
