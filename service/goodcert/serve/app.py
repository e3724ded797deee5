"""The application: its parts put together, opened at start, closed at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from goodcert.serve import schemas
from goodcert.serve.batching import Batcher, Limits, Run
from goodcert.serve.certify import Certifier
from goodcert.serve.exposition import Exposition
from goodcert.serve.front import Front
from goodcert.serve.lifecycle import Lifecycle
from goodcert.serve.metrics import Metrics
from goodcert.serve.observe import Observer
from goodcert.serve.predictor import Compile
from goodcert.serve.problems import Answers
from goodcert.serve.repository import Loader, MakeBatcher
from goodcert.serve.routes import router
from goodcert.serve.security import Security
from goodcert.serve.service import Service
from goodcert.serve.settings import Settings
from goodcert.serve.vitals import Vitals

if TYPE_CHECKING:  # an extra
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
    app.include_router(router)
    answers.install(app)
    keys = [key.get_secret_value() for key in settings.api_keys]
    app.add_middleware(Security, keys=keys, max_body_bytes=settings.max_body_bytes, answers=answers)
    # Added later, so further out: it sees what Security refuses.
    app.add_middleware(Observer, metrics=metrics, names=lambda: app.state.service.repository.names)
    if traces is not None:
        app.add_middleware(traces.middleware)
        metrics.tell("decode", traces.record_decode)
    app.add_middleware(Front, lifecycle=lifecycle, answers=answers, access_log=settings.access_log)
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
        app.state.service = Service(settings, repository, certifier, exposition, answers, lifecycle)
        async with vitals.every_second():
            yield
        await repository.close()
        certifier.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)

    return lifespan


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


# Imported when needed: a service with another engine or other models needs neither PyTorch nor the zoo.
def _engine_compile() -> Compile:
    from goodcert import engine

    return engine.compile


def _zoo() -> Path:
    from goodcert import zoo

    return zoo.folder()
