"""The application: its parts put together, opened at start, closed at the end."""

import asyncio
import logging
import math
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector
from starlette.types import ASGIApp, Receive, Scope, Send

from goodcert.serve import process, schemas
from goodcert.serve.batching import Batcher, Limits
from goodcert.serve.callers import Callers
from goodcert.serve.certify import Certifier
from goodcert.serve.hot_path import HotPath
from goodcert.serve.metrics import Metrics
from goodcert.serve.observe import Observer
from goodcert.serve.predictor import Compile
from goodcert.serve.problems import Answers
from goodcert.serve.repository import Loader, MakeBatcher, Repository, ServedModel
from goodcert.serve.routes import router
from goodcert.serve.security import Security
from goodcert.serve.service import Service
from goodcert.serve.settings import Settings


def create_app(
    settings: Settings,
    *,
    compile: Compile | None = None,  # noqa: A002  it is called so in goodcert.engine
    registry: CollectorRegistry | None = None,
    on_start: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The service as an ASGI application; models are loaded when it starts.

    compile: makes engines, `goodcert.engine.compile` by default. registry: takes the metrics, a new one by
    default. on_start: is called when the models are loaded.
    """
    metrics = Metrics(registry or CollectorRegistry())
    answers = Answers(metrics.count_problem)
    app = _App(
        title="goodcert",
        summary="A prediction, its confidence, and a guaranteed upper bound on it over a whole ball of images.",
        version=schemas.version(),
        lifespan=_lifespan(settings, compile, metrics, answers, on_start),
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(router)
    answers.install(app)
    keys = [key.get_secret_value() for key in settings.api_keys]
    app.add_middleware(HotPath, service=lambda: app.state.service)
    app.add_middleware(Security, keys=keys, max_body_bytes=settings.max_body_bytes, answers=answers)
    # Added last, so outermost: it sees what Security refuses.
    app.add_middleware(Observer, metrics=metrics, names=lambda: app.state.service.repository.names)
    return app


class _App(FastAPI):
    """The framework with our middleware around it and not inside: a plain request then never enters it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._outermost: ASGIApp = super().__call__

    def add_middleware(self, middleware: Callable[..., ASGIApp], **options: Any) -> None:  # type: ignore[override]
        self._outermost = middleware(self._outermost, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._outermost(scope, receive, send)


def serve(settings: Settings) -> None:
    """Run until told to stop; then finish what has begun. Returns, or leaves with status 0 on SIGTERM."""
    # uvicorn raises the signal that stopped it once more at the end; to be told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    uvicorn.run(
        create_app(settings, registry=registry, on_start=process.tune),
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.request_timeout_ms / 1000),
    )


def _lifespan(
    settings: Settings,
    make_engine: Compile | None,
    metrics: Metrics,
    answers: Answers,
    on_start: Callable[[], None],
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loader = Loader(
            make_engine or _engine_compile(), settings.device, settings.threads, *_batchers(settings, metrics)
        )
        repository = await asyncio.to_thread(loader.load, settings.models or _zoo())
        _describe(repository, metrics)
        certifier = Certifier(settings.max_pixels, metrics)
        callers = Callers()
        app.state.service = Service(settings, repository, certifier, metrics, answers, callers)
        on_start()
        yield
        await repository.close()
        certifier.close()
        callers.close()

    return lifespan


def _batchers(settings: Settings, metrics: Metrics) -> tuple[MakeBatcher, MakeBatcher]:
    """For ibp, and for crown, which does one image after another: nobody need wait for a neighbour's."""
    limits = Limits(
        settings.max_batch, settings.max_queue_items, settings.max_queue_bytes, settings.batch_wait_ms / 1000
    )
    alone = replace(limits, max_batch=1, wait_seconds=0)
    return (
        lambda work: Batcher(work, limits, metrics.record_run),
        lambda work: Batcher(work, alone, metrics.record_crown),
    )


def _describe(repository: Repository, metrics: Metrics) -> None:
    """Set the metrics that say what is running, and those that are read off it at every scrape."""
    metrics.build_info[schemas.build_labels()].set(1)
    for name in repository.names:
        metrics.queue_items[name,].set_function(partial(_waiting, repository.versions(name)))
    for model in repository.all():
        metrics.model_info[model.name, model.version, model.sha256, model.metadata.method].set(1)
        metrics.model_ready[model.name, model.version].set_function(partial(_is_sound, model))


def _waiting(versions: list[ServedModel]) -> int:
    return sum(len(batcher) for model in versions for batcher in model.batchers)


def _is_sound(model: ServedModel) -> float:
    return float(model.sound)


# Imported when needed: a service with another engine or other models needs neither PyTorch nor the zoo.
def _engine_compile() -> Compile:
    from goodcert import engine

    return engine.compile


def _zoo() -> Path:
    from goodcert import zoo

    return zoo.folder()
