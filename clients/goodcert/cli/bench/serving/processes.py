"""Servers as processes of their own, and the processor time they use."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of all its threads since it started."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def has(self, path: str) -> bool:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}").status_code == httpx.codes.OK


@contextmanager
def service(models: Path, threads: int) -> Iterator[Server]:
    options = ["--models", str(models), "--threads", str(threads), "--device", "cpu"]
    with running(["-m", "goodcert.cli.main", "serve", *options, "--port"]) as server:
        yield server


@contextmanager
def noop() -> Iterator[Server]:
    with running(["-m", "goodcert.cli.bench.serving.noop"]) as server:
        yield server


@contextmanager
def running(command: list[str]) -> Iterator[Server]:
    """Python with these arguments and a port after them, until it answers. Raises RuntimeError if it does not."""
    port = _free_port()
    arguments = [sys.executable, *command, str(port)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603  ours
    try:
        _wait(process, port)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(
        f"{process.args!r} ended or was not ready within {START_SECONDS} s; start it by hand to see why"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
