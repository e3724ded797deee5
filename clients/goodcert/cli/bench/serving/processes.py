"""Servers as processes of their own, and the processor time they use."""

import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 120


@dataclass(frozen=True)
class ServerProcess:
    """A server that answers."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of all its threads since it started."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def images(self) -> float:
        """How many images its engine has run; NaN for a server that does not tell."""
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        counts = [float(line.split()[-1]) for line in lines if line.startswith("goodcert_batch_size_sum")]
        return sum(counts) if counts else math.nan

    def rest(self) -> None:
        """Wait until it has finished what it has begun: its processor time stands still."""
        before = -1.0
        while (now := self.cpu_seconds()) > before:
            before = now
            time.sleep(0.1)

    def has(self, path: str) -> bool:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}").status_code == httpx.codes.OK


@contextmanager
def service(models: Path, device: str, threads: int) -> Iterator[ServerProcess]:
    options = ["--models", str(models), "--threads", str(threads), "--device", device, "--drain-ms", "0"]
    with running(["-m", "goodcert.cli.main", "serve", *options, "--port"]) as server:
        yield server


@contextmanager
def noop() -> Iterator[ServerProcess]:
    with running(["-m", "goodcert.cli.bench.serving.noop"]) as server:
        yield server


@contextmanager
def running(command: list[str]) -> Iterator[ServerProcess]:
    """Python with these arguments and a port after them, until it answers. Raises RuntimeError if it does not."""
    port = _free_port()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, *command, str(port)], stdout=log, stderr=log)  # noqa: S603  ours
        try:
            if not _ready(process, port):
                log.seek(0)
                raise RuntimeError(
                    f"{command} did not get ready in {START_SECONDS} s: {log.read()[-1000:].decode()}"
                )
            yield ServerProcess(port, process.pid)
        finally:
            process.terminate()
            process.wait()


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the server says so; False if it ends before, or takes too long."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == httpx.codes.OK:
                return True
        time.sleep(0.1)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
