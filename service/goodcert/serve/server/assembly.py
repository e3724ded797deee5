"""Builds the optional parts of the application from the settings, importing only what is switched on."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from goodcert.engine.sandbox.parent import Sandbox
from goodcert.engine.sandbox.parent import SandboxLimits as QuarantineLimits
from goodcert.serve.batching.batcher import Batcher, BatchRun
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.core.errors import LedgerUnavailable
from goodcert.serve.core.version import version
from goodcert.serve.http.service import Service
from goodcert.serve.recording.recorder import Recorder
from goodcert.serve.repository.cluster import Changes, Cluster
from goodcert.serve.repository.loader import Loader
from goodcert.serve.repository.model import MakeBatcher, MakeCrownBatcher
from goodcert.serve.repository.predictor import Compile
from goodcert.serve.repository.repository import Repository
from goodcert.serve.settings.settings import Settings, SettingsError
from goodcert.serve.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from goodcert.serve.core.event import Event
    from goodcert.serve.events.watch import Watch
    from goodcert.serve.ledger.ledger import Ledger
    from goodcert.serve.proof.signing import Signer
    from goodcert.serve.telemetry.tracing import Traces

log = logging.getLogger("goodcert.serve")


def loader(
    settings: Settings,
    make_engine: Compile | None,
    metrics: Metrics,
    traces: "Traces | None",
    shared: Path | None = None,
) -> Loader:
    """The models that ship were installed with the code that reads them; those of a folder may be anybody's.
    shared: a folder of all processes of this service."""
    limits = QuarantineLimits(settings.model_check_memory_bytes, settings.model_check_seconds)
    return Loader(
        make_engine or _engine_compile(shared),
        settings.device,
        settings.threads,
        *_batchers(settings, metrics, traces),
        sandbox=partial(Sandbox, limits) if settings.models and make_engine is None else None,
        most_bytes=limits.memory_bytes,
    )


@asynccontextmanager
async def grpc(app: FastAPI) -> AsyncIterator[None]:
    """gRPC beside HTTP, where a port is set. Raises SettingsError without its extra."""
    service: Service = app.state.service
    if service.settings.grpc_port is None:
        yield
        return
    try:
        from goodcert.serve.oip.grpc_server import GrpcServer, serving
    except ImportError as error:
        raise SettingsError("grpc_port: gRPC needs an extra; pip install 'goodcert[grpc]'") from error
    server = GrpcServer(app.state.dataplane, app.state.admission, service.answers)
    async with serving(server, service.settings, service.settings.grpc_port, service.lifecycle) as port:
        app.state.grpc_port = port
        yield


def _batchers(
    settings: Settings, metrics: Metrics, traces: "Traces | None"
) -> tuple[MakeBatcher, MakeCrownBatcher]:
    """For ibp; and for crown, where a batch is one image, and as many are under way as are done side by side: one
    may take a hundred times as long as another, and nobody need wait for a neighbour's."""
    limits = QueueLimits(
        settings.max_batch, settings.max_queue_items, settings.max_queue_bytes, settings.batch_wait_ms / 1000
    )
    return (
        lambda work: Batcher(work, limits, _both(metrics.record_run, traces)),
        lambda work, at_once: Batcher(
            work,
            replace(limits, max_batch=1, wait_seconds=0, at_once=at_once),
            _both(metrics.record_crown, traces),
        ),
    )


@asynccontextmanager
async def recorder(settings: Settings, metrics: Metrics) -> AsyncIterator[Recorder]:
    """With what is on; the rest is not even imported. Raises KeyFault, SettingsError, LedgerUnavailable."""
    signer = _signer(settings.signing_keys) if settings.signing_keys else None
    if settings.ledger_url is None:
        yield Recorder(settings, None, signer)
        return
    from goodcert.serve.ledger.ledger import Ledger

    def lost(certificates: int, events: "Sequence[Event]") -> None:
        metrics.record_loss(certificates, [event.trigger for event in events])

    ledger = Ledger(settings.ledger_url.get_secret_value(), signer, metrics.record_commit)
    try:
        await _open(ledger, settings)
        async with _triggers(settings, ledger, metrics) as watch:
            yield Recorder(settings, ledger, signer, lost, watch)
    finally:
        await ledger.close()


@asynccontextmanager
async def _triggers(settings: Settings, ledger: "Ledger", metrics: Metrics) -> "AsyncIterator[Watch | None]":
    """What looks for triggers, beside the tasks that deliver what they raise. Raises SettingsError."""
    if not settings.triggers:
        yield None
        return
    from goodcert.serve.events.delivery import delivering
    from goodcert.serve.events.watch import Watch

    async with delivering(settings, ledger, metrics):
        yield Watch(settings.triggers)


def warn_of_strangers(settings: Settings, models: Container[str]) -> None:
    """Triggers of models that are not there: they may come later, and they may be misspelt."""
    for trigger in settings.triggers:
        if trigger.model is not None and trigger.model not in models:
            log.warning("trigger %s: no model is called %s so far", trigger.name, trigger.model)


async def _open(ledger: "Ledger", settings: Settings) -> None:
    """A service that may not answer without its ledger does not start without it, either."""
    try:
        await ledger.open()
    except LedgerUnavailable:
        if settings.ledger_on_failure == "refuse":
            raise


def _signer(folder: Path) -> "Signer":
    from goodcert.serve.proof.signing import FolderSigner

    return FolderSigner(folder)


def _both(record: Callable[[BatchRun], None], traces: "Traces | None") -> Callable[[BatchRun], None]:
    """Runs are counted, and traced where there are traces."""
    if traces is None:
        return record

    def recorded(run: BatchRun) -> None:
        record(run)
        traces.record_run(run)

    return recorded


def traces_of(settings: Settings) -> "Traces | None":
    """Spans, if they are wanted."""
    if not settings.traces:
        return None
    from goodcert.serve.telemetry import tracing

    return tracing.exporting(version())


# Imported when needed: a service with another engine or other models needs neither PyTorch nor the zoo.
def _engine_compile(shared: Path | None) -> Compile:
    from goodcert import engine

    return partial(engine.compile, remember_in=shared)


def repository(settings: Settings, loader: Loader, unloaded: Collection[str] = ()) -> Repository:
    """The models of the folder in the settings, or of those that ship. Raises SettingsError."""
    if settings.models is not None:
        return Repository.open(settings.models, loader, settings.model_names, unloaded)
    from goodcert import zoo

    return Repository.open(zoo.folder(), loader, settings.model_names or zoo.DEFAULT, unloaded)


@asynccontextmanager
async def models(
    settings: Settings, loader: Loader, shared: Path | None
) -> AsyncIterator[tuple[Repository, Changes]]:
    """The repository, and what changes it: all processes that share the folder, where there are several."""
    if shared is None or not settings.model_admin:
        alone = await asyncio.to_thread(repository, settings, loader)
        yield alone, alone
        return
    cluster = await asyncio.to_thread(Cluster.join, shared)
    opened = await asyncio.to_thread(repository, settings, loader, cluster.unloaded)
    async with cluster.listening(opened):
        yield opened, cluster
