"""The application: its parts put together, opened at start, closed at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from goodcert.serve import records, schemas
from goodcert.serve.batching import Batcher, Limits, Run
from goodcert.serve.callers import Callers
from goodcert.serve.certify import Certifier
from goodcert.serve.departure import Departure
from goodcert.serve.errors import LedgerUnavailable
from goodcert.serve.exposition import Exposition
from goodcert.serve.front import Front
from goodcert.serve.hot_path import HotPath
from goodcert.serve.lifecycle import Lifecycle
from goodcert.serve.metrics import Metrics
from goodcert.serve.observe import Observer
from goodcert.serve.predictor import Compile
from goodcert.serve.problems import Answers
from goodcert.serve.protocol.dialect import Dialect
from goodcert.serve.protocol.rest import OpenInference
from goodcert.serve.repository import Loader, MakeBatcher
from goodcert.serve.routes import router
from goodcert.serve.security import Security, admit, keyring
from goodcert.serve.service import Service
from goodcert.serve.settings import Settings, SettingsError
from goodcert.serve.vitals import Vitals

if TYPE_CHECKING:
    from goodcert.serve.ledger.ledger import Ledger
    from goodcert.serve.signing import Signer
    from goodcert.serve.traces import Traces


def create_app(
    settings: Settings,
    *,
    compile: Compile | None = None,  # noqa: A002  it is called so in goodcert.engine
    registry: CollectorRegistry | None = None,
    lifecycle: Lifecycle | None = None,
    traces: "Traces | None" = None,
) -> FastAPI:
    """The service as an ASGI application; models are loaded when it starts.

    compile: makes engines, `goodcert.engine.compile` by default. registry: takes the metrics, a new one by
    default. lifecycle: where the server says that it ends. traces: makes spans, by default if the settings say so.
    """
    lifecycle = lifecycle or Lifecycle()
    traces = traces or _traces(settings)
    metrics = Metrics(registry or CollectorRegistry())
    answers = Answers(metrics.count_problem)
    app = FastAPI(
        title="goodcert",
        summary="A prediction, its confidence, and a guaranteed upper bound on it over a whole ball of images.",
        version=schemas.version(),
        lifespan=_lifespan(settings, compile, metrics, answers, lifecycle, traces),
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.answers = answers
    app.include_router(router)
    app.include_router(records.router)
    answers.install(app)
    app.state.keyring = keyring(settings)
    app.add_middleware(OpenInference, service=lambda: app.state.service)
    app.add_middleware(HotPath, service=lambda: app.state.service)
    app.add_middleware(
        Security,
        keyring=app.state.keyring,
        max_body_bytes=settings.max_body_bytes,
        max_bytes_in_flight=settings.max_bytes_in_flight,
        answers=answers,
    )
    # Added later, so further out: it sees what Security refuses.
    app.add_middleware(Observer, metrics=metrics, names=lambda: app.state.service.repository.names)
    if traces is not None:
        app.add_middleware(traces.middleware)
        metrics.tell("decode", traces.record_decode)
    app.add_middleware(Front, lifecycle=lifecycle, answers=answers, access_log=settings.access_log)
    app.add_middleware(Dialect)
    return app


def _lifespan(
    settings: Settings,
    make_engine: Compile | None,
    metrics: Metrics,
    answers: Answers,
    lifecycle: Lifecycle,
    traces: "Traces | None",
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loader = Loader(
            make_engine or _engine_compile(),
            settings.device,
            settings.threads,
            *_batchers(settings, metrics, traces),
        )
        repository = await asyncio.to_thread(loader.load, settings.models or _zoo())
        vitals = Vitals(repository, metrics)
        certifier = Certifier(settings.max_pixels, metrics)
        exposition = Exposition(metrics.registry, vitals.refresh)
        callers = Callers()
        async with _departure(settings, metrics) as departure:
            app.state.service = Service(
                settings, repository, certifier, exposition, answers, lifecycle, callers, departure
            )
            async with vitals.every_second(), _grpc(app, settings, answers):
                yield
            await repository.close()
            certifier.close()
            callers.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)

    return lifespan


@asynccontextmanager
async def _grpc(app: FastAPI, settings: Settings, answers: Answers) -> AsyncIterator[None]:
    """gRPC beside HTTP, where a port is set. Raises SettingsError without its extra."""
    if settings.grpc_port is None:
        yield
        return
    try:
        from goodcert.serve.protocol.gateway import Gateway, serving
    except ImportError as error:
        raise SettingsError("grpc_port: gRPC needs an extra; pip install 'goodcert[grpc]'") from error
    gateway = Gateway(app, partial(admit, app.state.keyring), answers, settings.request_timeout_ms / 1000)
    async with serving(gateway, settings, settings.grpc_port) as app.state.grpc_port:
        yield


def _batchers(settings: Settings, metrics: Metrics, traces: "Traces | None") -> tuple[MakeBatcher, MakeBatcher]:
    """For ibp, and for crown, which does one image after another: nobody need wait for a neighbour's."""
    limits = Limits(
        settings.max_batch, settings.max_queue_items, settings.max_queue_bytes, settings.batch_wait_ms / 1000
    )
    alone = replace(limits, max_batch=1, wait_seconds=0)
    return (
        lambda work: Batcher(work, limits, _both(metrics.record_run, traces)),
        lambda work: Batcher(work, alone, _both(metrics.record_crown, traces)),
    )


def _both(record: Callable[[Run], None], traces: "Traces | None") -> Callable[[Run], None]:
    """Runs are counted, and traced where there are traces."""
    if traces is None:
        return record

    def recorded(run: Run) -> None:
        record(run)
        traces.record_run(run)

    return recorded


def _traces(settings: Settings) -> "Traces | None":
    if not settings.traces:
        return None
    from goodcert.serve import traces

    return traces.exporting(schemas.version())


@asynccontextmanager
async def _departure(settings: Settings, metrics: Metrics) -> AsyncIterator[Departure]:
    """With what is on; the rest is not even imported. Raises KeyFault, SettingsError, LedgerUnavailable."""
    signer = _signer(settings.signing_keys) if settings.signing_keys else None
    if settings.ledger_url is None:
        yield Departure(settings, None, signer)
        return
    from goodcert.serve.ledger.ledger import Ledger

    ledger = Ledger(settings.ledger_url.get_secret_value(), signer, metrics.record_commit)
    try:
        await _open(ledger, settings)
        yield Departure(settings, ledger, signer, metrics.ledger_lost.inc)
    finally:
        await ledger.close()


async def _open(ledger: "Ledger", settings: Settings) -> None:
    """A service that may not answer without its ledger does not start without it, either."""
    try:
        await ledger.open()
    except LedgerUnavailable:
        if settings.ledger_on_failure == "refuse":
            raise


def _signer(folder: Path) -> "Signer":
    from goodcert.serve.signing import Signer, read_keys

    return Signer(read_keys(folder))


# Imported when needed: a service with another engine or other models needs neither PyTorch nor the zoo.
def _engine_compile() -> Compile:
    from goodcert import engine

    return engine.compile


def _zoo() -> Path:
    from goodcert import zoo

    return zoo.folder()
