"""A deployment behind a balancer: replicas are restarted one after another, at the defaults; nobody notices."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from goodcert import zoo
from goodcert.serve.settings.settings import Settings
from prometheus import free_port
from serving import CERTIFY, Callers, Line, Served, images, is_ready, serving

RESTARTS = 20
CALLERS = 4
LIFE_SECONDS = 3600  # a replica lives as long as the other takes to restart
# As it ships; the settings for other tests drain nothing.
DRAIN = str(Settings.model_fields["drain_ms"].default)
FLAGS = ["--threads", "1", "--access-log", "true", "--drain-ms", DRAIN]

# Checks are HAProxy's defaults: every 2 s, three failures take a server out, two successes bring it in.
CONFIGURATION = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend callers
    bind fd@{front}
    default_backend replicas
backend replicas
    option httpchk GET /health/ready
    server first 127.0.0.1:{first} check
    server second 127.0.0.1:{second} check
"""


@contextmanager
def haproxy(folder: Path, **replicas: int) -> Iterator[int]:
    """The port of a balancer in front of the replicas on these ports. Callers that come before it is up wait."""
    path = folder / "haproxy.cfg"
    command = ["haproxy", "-db", "-f", str(path)]
    with (folder / "haproxy.log").open("w") as log, socket.create_server(("127.0.0.1", 0)) as listener:
        front = listener.fileno()
        path.write_text(CONFIGURATION.format(front=front, **replicas), encoding="utf-8")
        with subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[front]) as process:
            try:
                yield listener.getsockname()[1]
            finally:
                process.terminate()


class Replica:
    """One of those behind the balancer, on a port that stays its own."""

    def __init__(self, models: Path) -> None:
        self.port = free_port()
        self._models = str(models)
        self._running = ExitStack()
        self._served: Served | None = None

    def start(self) -> None:
        flags = [*FLAGS, "--port", str(self.port), "--models", self._models]
        self._served = self._running.enter_context(serving(*flags, longest_seconds=LIFE_SECONDS))
        self._served.line(is_ready)

    def wait_until_asked(self) -> None:
        """Until the balancer sends it a caller's request."""
        assert self._served
        self._served.line(was_asked)

    def restart(self) -> None:
        assert self._served
        self._served.process.send_signal(signal.SIGTERM)
        assert self._served.end() == 0
        self._running.close()
        self.start()
        self.wait_until_asked()

    def __enter__(self) -> "Replica":
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def was_asked(line: Line) -> bool:
    return line.get("path") == CERTIFY


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed; Debian has it under this name")
def test_rolling_restarts_behind_haproxy_lose_no_request(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    models = tmp_path / "models"
    shutil.copytree(zoo.folder() / "mnist-good100" / "1", models / "mnist-good100" / "1")  # the one that is asked
    with Replica(models) as first, Replica(models) as second:
        first.start()
        second.start()
        with haproxy(tmp_path, first=first.port, second=second.port) as port:
            callers = Callers(port, images(8))
            with callers.calling(CALLERS):
                for replica in (first, second):
                    replica.wait_until_asked()
                for replica, _ in zip(cycle((first, second)), range(RESTARTS), strict=False):
                    replica.restart()
    lost = {identity: status for identity, status in callers.asked.items() if status != 200}
    record_property("found", f"{RESTARTS} restarts, {CALLERS} callers, {callers.found}; {len(lost)} lost")
    assert lost == {}
    assert len(callers.answers) > RESTARTS
