"""One server process: its start and its graceful shutdown, in which no accepted request is lost.

On SIGTERM or SIGINT: readiness turns to 503; for `drain_ms` requests are still taken, so that load balancers can
notice (not after SIGINT, as a person waits at a terminal); then new requests get 503 with `Connection: close`
until all earlier ones have their answer; then the listening socket, idle connections and gRPC are closed.
`grace_ms` limits the whole; what is not answered by then is cancelled and gets 503, too.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector

from goodcert.serve.core import logs
from goodcert.serve.core.lifecycle import Lifecycle, LifecyclePhase
from goodcert.serve.server import listening, tuning
from goodcert.serve.settings import environment
from goodcert.serve.settings.settings import Settings
from goodcert.serve.telemetry.exposition import own_port

log = logging.getLogger("goodcert.serve")

STARTUP_FAILURE = 3
BACKLOG = 2048
# At least so long are new requests answered with 503 before connections break, and so often it is looked.
_NOTICE_SECONDS = 0.2
_LOOK_SECONDS = 0.02


def run(settings: Settings, listener: socket.socket | None = None, shared: Path | None = None) -> None:
    """Serve until told to stop. Returns, or leaves with status 0 on SIGTERM, 3 when the start failed.

    listener: a bound socket shared with other processes, one of several workers; None to bind its own. shared: a
    folder of these processes.
    """
    # Imported when it serves: a supervisor only wants `config`, and has no use for PyTorch.
    from goodcert.serve.server.app import create_app

    tuning.settle()
    # uvicorn raises the signal that stopped it once more at the end; to be told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logs.configure(settings.log_format)
    registry, lifecycle = CollectorRegistry(), Lifecycle()
    alone = listener is None
    if alone:
        environment.warn(log)
        ProcessCollector(registry=registry)
    app = create_app(settings, registry=registry, lifecycle=lifecycle, on_start=tuning.tune, shared=shared)
    listens = {**listening.options(settings, app.state.answers), "backlog": BACKLOG if alone else 1}
    server = Server(config(settings, app, **listens), lifecycle, settings)
    port = settings.metrics_port if alone else None
    with own_port(registry, settings.metrics_host, port), contextlib.suppress(KeyboardInterrupt):
        server.run(None if listener is None else [listener])
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def config(settings: Settings, app: Any, **options: Any) -> uvicorn.Config:
    """How uvicorn is told what the settings say."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        log_config=None,
        **options,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which ends in steps."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, settings: Settings) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_seconds = settings.drain_ms / 1000
        self._grace_seconds = settings.grace_ms / 1000

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.started:
            # Nothing was taken, so nothing is owed; the models that are being loaded would hold up an orderly end.
            try:
                log.info("ended before the start was over")
            finally:  # the signal may come in the middle of a line, where no other can be written
                os._exit(0)
        if sig == signal.SIGINT:
            self._drain_seconds = 0
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # With a backlog of 1 asyncio accepts one connection a turn and leaves the next to another worker; how
        # many may wait in the kernel is another number, which it gets here.
        for listener in sockets or ():
            listener.listen(BACKLOG)
        self._end_with_the_supervisor()
        log.info("ready: requests are taken")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        clock = asyncio.get_running_loop().time
        self._lifecycle.ends = clock() + self._grace_seconds
        await self._drain(self._lifecycle.ends)
        left = self._lifecycle.ends - clock()
        self.config.timeout_graceful_shutdown = max(left, 0)  # type: ignore[assignment]  # it takes fractions
        await super().shutdown(sockets)

    async def _drain(self, ends: float) -> None:
        """Until what was taken is answered, or `ends` on the loop's clock."""
        clock = asyncio.get_running_loop().time
        log.info("ending: readiness says so, %d requests are being answered", self._lifecycle.in_flight)
        self._lifecycle.phase = LifecyclePhase.LEAVING
        noticed = clock() + self._drain_seconds
        while not self.force_exit and clock() < min(noticed, ends):
            await asyncio.sleep(_LOOK_SECONDS)
        self._lifecycle.phase = LifecyclePhase.REFUSING
        noticed = clock() + _NOTICE_SECONDS
        while not self.force_exit and clock() < ends and (clock() < noticed or self._lifecycle.in_flight):
            await asyncio.sleep(_LOOK_SECONDS)

    def _end_with_the_supervisor(self) -> None:
        """A worker whose supervisor is gone would be replaced and stopped by nobody."""
        supervisor = parent_process()
        if supervisor is not None:
            loop = asyncio.get_running_loop()

            def end() -> None:
                loop.remove_reader(supervisor.sentinel)
                self.should_exit = True

            loop.add_reader(supervisor.sentinel, end)
