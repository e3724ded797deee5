"""Several workers behind one port: started, watched, replaced, ended together.

The workers share one listening socket, so that the others take the connections which wait for a worker that was
killed. Each has its own engine, queues and limits. They are forked from a process that has imported everything and
done nothing: they share that memory, and a new worker needs no longer than its models take to load. Their metrics
lie in files of one folder, which outlive them: nothing is counted twice or lost with a worker.

Imports nothing that imports prometheus_client before `FOLDER` is set: it would keep its values in memory.
"""

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from socket import socket
from time import monotonic
from typing import Protocol

from goodcert.serve.core import logs
from goodcert.serve.settings import environment
from goodcert.serve.settings.settings import Settings, SettingsError

log = logging.getLogger("goodcert.serve")

# By a worker that cannot start: told by uvicorn, by an exception, by us.
_STARTUP_FAILURES = {1, 2, 3}
# Who ends sooner than this may do so again: from the second time on the next one waits, twice as long each time,
# at most the longest.
_YOUNG_SECONDS = 10
_LONGEST_WAIT_SECONDS = 30
# What a worker may take beyond its grace period to leave.
LEAVE_SECONDS = 2
_STOP = {signal.SIGTERM, signal.SIGINT}


class Worker(Protocol):
    """A `multiprocessing.Process`, or a fake. sentinel: becomes readable when it has ended."""

    @property
    def pid(self) -> int | None: ...
    @property
    def exitcode(self) -> int | None: ...
    @property
    def sentinel(self) -> int: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def join(self) -> None: ...


@dataclass
class _Slot:
    """A place for a worker. due: when the next one starts, None while one runs. early: how many in a row ended
    young."""

    worker: Worker | None = None
    started: float = 0
    due: float | None = 0
    early: int = 0
    starts: int = 0


class Supervisor:
    """Keeps `count` workers running. start: begins one. ended: is told the pid of each that ended unasked."""

    def __init__(
        self,
        start: Callable[[], Worker],
        count: int,
        grace_seconds: float,
        ended: Callable[[int | None], None] = lambda _: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._start = start
        self._slots = [_Slot() for _ in range(count)]
        self._grace_seconds = grace_seconds
        self._ended = ended
        self._clock = clock
        self._heard, self._bell = os.pipe()
        self._stopping = False
        self._status = 0

    def stop(self) -> None:
        """End everything; may be called from a signal handler."""
        self._stopping = True
        os.write(self._bell, b".")

    def run(self) -> int:
        """Until told to stop: 0, or 1 when a worker had to be killed. When a first worker cannot start, what it
        left with."""
        try:
            while not self._stopping:
                self._fill()
                wait([self._heard, *self._sentinels()], self._patience())
                self._reap()
            self._end()
        finally:
            os.close(self._heard)
            os.close(self._bell)
        return self._status

    def _fill(self) -> None:
        for slot in self._slots:
            if slot.due is not None and slot.due <= self._clock():
                slot.worker, slot.started, slot.due = self._start(), self._clock(), None
                slot.starts += 1

    def _sentinels(self) -> list[int]:
        return [slot.worker.sentinel for slot in self._slots if slot.worker]

    def _patience(self) -> float | None:
        """Seconds to the next start, None when there is nothing to start."""
        due = [slot.due for slot in self._slots if slot.due is not None]
        return max(min(due) - self._clock(), 0) if due else None

    def _reap(self) -> None:
        for slot in self._slots:
            worker = slot.worker
            if worker is None or worker.exitcode is None:
                continue
            if self._stopping:  # the terminal told everyone
                continue
            if slot.starts == 1 and worker.exitcode in _STARTUP_FAILURES:
                self._status, self._stopping = worker.exitcode, True
                continue
            self._replace(slot, worker)

    def _replace(self, slot: _Slot, worker: Worker) -> None:
        slot.early = slot.early + 1 if self._clock() - slot.started < _YOUNG_SECONDS else 0
        delay = min(2 ** (slot.early - 2), _LONGEST_WAIT_SECONDS) if slot.early > 1 else 0
        log.error("worker %s ended with %s; another starts in %d s", worker.pid, worker.exitcode, delay)
        self._ended(worker.pid)
        slot.worker, slot.due = None, self._clock() + delay

    def _end(self) -> None:
        workers = [slot.worker for slot in self._slots if slot.worker]
        for worker in workers:
            worker.terminate()
        ends = self._clock() + self._grace_seconds + LEAVE_SECONDS
        while (left := ends - self._clock()) > 0 and (alive := [w for w in workers if w.exitcode is None]):
            wait([worker.sentinel for worker in alive], left)
        for worker in workers:
            if worker.exitcode is None:
                log.error("worker %s did not end in time and is killed", worker.pid)
                self._status = self._status or 1
                worker.kill()
            worker.join()


def run(settings: Settings) -> None:
    """Serve with `settings.workers` processes until told to stop; leaves with a status other than 0 if that is
    due."""
    logs.configure(settings.log_format)
    environment.warn(log)
    with _shared_folder() as shared:
        # Imported now that the folder is set.
        from prometheus_client import CollectorRegistry

        from goodcert.serve.server import process
        from goodcert.serve.telemetry import exposition
        from goodcert.serve.telemetry.metrics import Metrics

        # The certificate only for the line in the log; workers speak TLS themselves.
        listener = process.config(settings, None, ssl_certfile=settings.tls_certificate).bind_socket()
        restarts = Metrics(CollectorRegistry()).worker_restarts

        def ended(pid: int | None) -> None:
            exposition.forget(pid)
            restarts.inc()

        start = _starter(settings, listener, shared)
        supervisor = Supervisor(start, settings.workers, settings.grace_ms / 1000, ended)
        for number in _STOP:
            signal.signal(number, lambda *_: supervisor.stop())
        with exposition.own_port(exposition.merged(), settings.metrics_host, settings.metrics_port):
            status = supervisor.run()
    if status:
        sys.exit(status)


@contextmanager
def _shared_folder() -> Iterator[Path]:
    """Of the workers: their metrics, and where they tell each other what changes."""
    with tempfile.TemporaryDirectory(prefix="goodcert-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        yield Path(folder)


def _starter(settings: Settings, listener: socket, shared: Path) -> Callable[[], Worker]:
    cores = len(os.sched_getaffinity(0))  # engine.threads would bring PyTorch into this process
    threads = settings.threads or max(1, cores // settings.workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    context = get_context("forkserver")
    context.set_forkserver_preload(["goodcert.serve.server.process", "goodcert.serve.server.app"])
    own = settings.model_copy(update={"threads": threads})

    def start() -> Worker:
        worker = context.Process(target=work, args=(own, listener, shared))
        # systemd tells every process of a service to end; the one that workers are forked from must not yet.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        worker.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        log.info("worker %s starts", worker.pid)
        return worker

    return start


def work(settings: Settings, listener: socket, shared: Path) -> None:
    """The whole life of a worker."""
    from goodcert.serve.server import process

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    try:
        process.run(settings, listener, shared)
    except SettingsError as error:
        log.error("%s", error)
        sys.exit(2)
