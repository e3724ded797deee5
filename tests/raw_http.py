"""HTTP as bytes, to a real server, or to one connection whose transport is a fake."""

import asyncio
import socket
from contextlib import contextmanager

import uvicorn
from uvicorn.server import ServerState

from goodcert.serve.http.problems import Answers
from goodcert.serve.server.connections import Connection, Guard, Patience

HOST = "Host: x\r\n"
CERTIFY = f"POST /v1/models/tiny/certify HTTP/1.1\r\n{HOST}Content-Type: image/png\r\n"
CLOSE = "Connection: close\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
LIVE = f"GET /health/live HTTP/1.1\r\n{HOST}"


@contextmanager
def connect(service, data=""):
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        yield connection


def read(connection):
    """Everything until the server hangs up, which it must within the ten seconds of the socket."""
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    return answer


def say(service, data):
    with connect(service, data) as connection:
        return read(connection)


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `closed` and `aborted` say what was done to it."""

    def __init__(self):
        super().__init__({"peername": ("192.0.2.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written, self.writes, self.closed, self.aborted = b"", 0, False, False

    def write(self, data):
        self.written += data
        self.writes += 1

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def close(self):
        self.closed = True

    def abort(self):
        self.aborted = True


async def _application(_, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def connected(codes, application=_application):
    patience = Patience(idle=1, headers=2, body=3, connections=9)
    connection = Connection(
        guard=Guard(patience, Answers(codes.append)),
        config=uvicorn.Config(application, log_config=None, ws="none"),
        server_state=ServerState(),
        app_state={},
        _loop=asyncio.get_running_loop(),
    )
    transport = FakeTransport()
    connection.connection_made(transport)
    return connection, transport
