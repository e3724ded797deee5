"""The wire as the tests need it: sample answers, and a real server that gives them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

PNG = b"\x89PNG\r\n\x1a\n and so on"
JPEG = b"\xff\xd8\xff and so on"

Answer = Callable[[httpx.Request], httpx.Response | None]
"""A fake service: a response for a request, None to hang up without one."""


def certificate(**changes: Any) -> dict[str, Any]:
    """A certificate as the service sends it."""
    return {
        "format": 2,
        "id": "c-1",
        "model": {"name": "mnist-good100", "version": "1", "sha256": "aa"},
        "image": {"sha256": "bb", "format": "PNG", "width": 28, "height": 30},
        "epsilon": 0.3,
        "norm": "linf",
        "scope": "upload",
        "method": "ibp",
        "prediction": {"index": 7, "label": "seven"},
        "confidence": 0.9987,
        "confidence_upper_bound": 1.0,
        "confidence_lower_bound": 0.31,
        "possible_labels": ["seven", "one"],
        "threshold": 0.72,
        "verdict": "in_distribution",
        "certified_radius": None,
        "issued_at": "2024-02-29T12:30:00Z",
        "engine": {"version": "0.1.0", "device": "cpu"},
    } | changes


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """An answer that says what is wrong, as the service does."""
    document = {"type": "about:blank", "title": "A title", "status": status, "detail": "A detail.", "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=document, headers={**named, "Content-Type": "application/problem+json"})


def in_turn(*responses: httpx.Response | None) -> tuple[Answer, list[httpx.Request]]:
    """A service that gives these answers one after the other, and the requests that it got."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response | None:
        requests.append(request)
        return responses[len(requests) - 1]

    return answer, requests


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """A real HTTP server on a free port of loopback that answers as it is told; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = httpx.Request(
                self.command, f"http://service{self.path}", headers=list(self.headers.items()), content=content
            )
            self.reply(answer(request))

        do_POST = do_GET  # noqa: N815 - its name in the base class

        def reply(self, response: httpx.Response | None) -> None:
            self.close_connection = response is None or response.headers.get("Connection") == "close"
            if response is not None:
                self.send_response(response.status_code)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # closing waits for every answer, so that nothing outlives its test

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
