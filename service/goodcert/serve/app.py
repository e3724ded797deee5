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

import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, ProcessCollector

from goodcert.serve import schemas
from goodcert.serve.batching import Batcher, Limits
from goodcert.serve.certify import Certifier
from goodcert.serve.metrics import Metrics
from goodcert.serve.observe import Observer
from goodcert.serve.predictor import Compile
from goodcert.serve.problems import Answers
from goodcert.serve.protocol.dialect import Dialect
from goodcert.serve.protocol.rest import OpenInference
from goodcert.serve.repository import Loader, MakeBatcher, Repository, ServedModel
from goodcert.serve.routes import router
from goodcert.serve.security import Keys, Security
from goodcert.serve.service import Service
from goodcert.serve.settings import Settings, SettingsError


def create_app(
    settings: Settings,
    *,
    compile: Compile | None = None,  # noqa: A002  it is called so in goodcert.engine
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """The service as an ASGI application; models are loaded when it starts.

    compile: makes engines, `goodcert.engine.compile` by default. registry: takes the metrics, a new one by
    default.
    """
    metrics = Metrics(registry or CollectorRegistry())
    answers = Answers(metrics.count_problem)
    app = FastAPI(
        title="goodcert",
        summary="A prediction, its confidence, and a guaranteed upper bound on it over a whole ball of images.",
        version=schemas.version(),
        lifespan=_lifespan(settings, compile, metrics, answers),
        redoc_url=None,
        redirect_slashes=False,
    )
    app.include_router(router)
    answers.install(app)
    app.add_middleware(OpenInference, service=lambda: app.state.service)
    keys = [key.get_secret_value() for key in settings.api_keys]
    app.add_middleware(Security, keys=keys, max_body_bytes=settings.max_body_bytes, answers=answers)
    # Added last, so outermost: they see what Security refuses.
    app.add_middleware(Observer, metrics=metrics, names=lambda: app.state.service.repository.names)
    app.add_middleware(Dialect)
    return app


def serve(settings: Settings) -> None:
    """Run until told to stop; then finish what has begun. Returns, or leaves with status 0 on SIGTERM."""
    # uvicorn raises the signal that stopped it once more at the end; to be told to stop is no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    uvicorn.run(
        create_app(settings, registry=registry),
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(settings.request_timeout_ms / 1000),
    )


def _lifespan(
    settings: Settings, make_engine: Compile | None, metrics: Metrics, answers: Answers
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loader = Loader(
            make_engine or _engine_compile(), settings.device, settings.threads, *_batchers(settings, metrics)
        )
        repository = await asyncio.to_thread(loader.load, settings.models or _zoo())
        _describe(repository, metrics)
        certifier = Certifier(settings.max_pixels, metrics)
        app.state.service = Service(settings, repository, certifier, metrics, answers)
        async with _grpc(app, settings, answers):
            yield
        await repository.close()
        certifier.close()

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
    keys = Keys(key.get_secret_value() for key in settings.api_keys)
    gateway = Gateway(app, keys.check, answers, settings.request_timeout_ms / 1000)
    async with serving(gateway, settings, settings.grpc_port) as app.state.grpc_port:
        yield


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
