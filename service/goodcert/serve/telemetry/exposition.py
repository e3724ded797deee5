"""`/metrics` in the Prometheus text format, rendered without blocking the event loop for long.

Rendering costs about 2 ms, ten times a request's share of the loop. A single process renders one metric at a time
and lets requests run in between. Several processes keep their values in files of one folder (the multiprocess mode
of prometheus_client), which are merged in a thread of whichever process is asked, or by the supervisor on
`metrics_port`.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

# Read by prometheus_client when it is imported: set, it keeps its values in files of this folder.
FOLDER = "PROMETHEUS_MULTIPROC_DIR"


class Exposition:
    """What `/metrics` answers. refresh: sets the gauges that are read off the running service."""

    def __init__(self, registry: CollectorRegistry, refresh: Callable[[], None]) -> None:
        self._registry = registry
        self._refresh = refresh

    async def render(self) -> bytes:
        self._refresh()
        if os.environ.get(FOLDER):
            return await asyncio.to_thread(generate_latest, merged())
        return b"".join([part async for part in self._parts()])

    async def _parts(self) -> AsyncIterator[bytes]:
        for family in self._registry.collect():
            yield generate_latest(_Single(family))
            await asyncio.sleep(0)


class _Single:
    """A registry of one metric."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return [self._family]


def merged() -> CollectorRegistry:
    """A registry that adds up the values of all processes, dead ones included."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def forget(pid: int | None) -> None:
    """The gauges of a process that ended; its counts stay."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


@contextmanager
def own_port(registry: CollectorRegistry, host: str, port: int | None) -> Iterator[None]:
    """Serve `registry` on a port of its own, from a thread; without a port do nothing."""
    if port is None:
        yield
        return
    server, thread = start_http_server(port, host, registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
