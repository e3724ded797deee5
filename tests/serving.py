"""`goodcert serve` in processes of its own, its log as it is written, and callers that notice everything."""

import http.client
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LONGEST_SECONDS = 300
CERTIFY = "/v1/models/mnist-good100/versions/1/certify"
Line = dict[str, Any]


class Served:
    """A running service; `lines` is what it logged so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[Line] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def line(self, wanted: Callable[[Line], object]) -> Line:
        """The first line that is wanted; waits for it."""

        def found() -> Line | None:
            return next((line for line in self.lines if wanted(line)), None)

        with self._news:
            seen = self._news.wait_for(lambda: found() or self._ended, LONGEST_SECONDS)
        line = found()
        assert seen, "the line never came"
        assert line, f"the service ended without the line; it said {self.lines}"
        return line

    @property
    def port(self) -> int:
        text = self.line(lambda line: "://127.0.0.1:" in line["message"])["message"]
        return int(text.split("://127.0.0.1:")[1].split()[0])

    def end(self) -> int:
        """The exit status, once everything it wrote is read."""
        status = self.process.wait(LONGEST_SECONDS)
        self._reader.join(LONGEST_SECONDS)
        return status

    def ask(self, path: str, **headers: str) -> tuple[int, str]:
        with _connected(self.port) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    _ended = False

    def _read(self) -> None:
        assert self.process.stderr
        for text in self.process.stderr:
            with self._news:
                self.lines.append(json.loads(text) if text.startswith("{") else {"message": text})
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


@contextmanager
def serving(*flags: str, longest_seconds: float = LONGEST_SECONDS, **environment: str) -> Iterator[Served]:
    """Started as a user starts it, with its log as JSON; killed at the end unless it has ended, or after the
    longest time.

    Told to end it does so at once, as there is no balancer, unless flags say otherwise.
    """
    always = ["--port", "0", "--log-format", "json", "--drain-ms", "0"]
    command = [sys.executable, "-m", "goodcert.cli.main", "serve", *always, *flags]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GOODCERT_")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean | environment) as process:
        watchdog = threading.Timer(longest_seconds, process.kill)
        watchdog.start()
        served = Served(process)
        try:
            yield served
        finally:
            watchdog.cancel()
            process.kill()
            served.end()


def is_ready(line: Line) -> bool:
    return line["message"].startswith("ready:")


def processor_seconds(pid: int) -> float:
    """What the process has used so far; on a busy machine it waits, which is none of its fault."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


@dataclass
class Callers:
    """Threads that ask for certificates one after another until told to stop, or until nobody listens.

    asked: the status by request id, 0 where the connection broke. answers: the certificates, by request id.
    """

    port: int
    bodies: list[bytes]
    path: str = CERTIFY
    asked: dict[str, int] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    closed: list[bool] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def calling(self, count: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._call, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()

    @property
    def found(self) -> str:
        """What came of it, in a sentence."""
        statuses = Counter(self.asked.values())
        broken = statuses.pop(0, 0)
        told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        return f"{len(self.asked)} requests: {told}, {broken} broken off"

    def wait_for(self, count: int) -> None:
        """Until so many more were answered."""
        wanted = len(self.answers) + count
        with self._news:
            assert self._news.wait_for(lambda: len(self.answers) >= wanted, LONGEST_SECONDS)

    def _call(self, caller: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        number = 0
        while not self.stop.is_set():
            identity = f"{caller}-{number}"
            try:
                self._ask(connection, identity, number)
            except ConnectionRefusedError:
                break
            except (OSError, http.client.HTTPException):
                self.asked[identity] = 0
                connection.close()
            number += 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, identity: str, number: int) -> None:
        which = number % len(self.bodies)
        headers = {"Content-Type": "image/png", "X-Request-Id": identity}
        connection.request("POST", self.path, self.bodies[which], headers)
        answer = connection.getresponse()
        body = answer.read()  # JSON, unless it is a balancer's own
        self.asked[identity] = answer.status
        if answer.status == 200:
            with self._news:
                self.answers[identity] = json.loads(body)
                self._news.notify_all()
        else:
            self.closed.append(answer.getheader("Connection") == "close")


def images(count: int) -> list[bytes]:
    """PNG files of the default model's size: noise, which is certified, and halves, which is not."""
    random = np.random.default_rng(11)
    pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    pixels[::2, 8:, :] //= 16
    return [_png(image) for image in pixels]


def _png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def said(certificate: dict[str, Any]) -> dict[str, Any]:
    """What two certificates of one image have in common."""
    return {name: value for name, value in certificate.items() if name not in ("id", "issued_at")}
