"""The ASGI application: middleware and routes put together, resources opened at startup and closed at shutdown."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from goodcert.serve.admission.admission import Admission, BytesInFlight
from goodcert.serve.admission.keyring import keyring
from goodcert.serve.certifier.certifier import Certifier
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.core.version import version
from goodcert.serve.http import records
from goodcert.serve.http.certify_endpoint import CertifyEndpoint
from goodcert.serve.http.disconnects import DisconnectWatcher
from goodcert.serve.http.middleware import RequestMiddleware
from goodcert.serve.http.problems import Answers
from goodcert.serve.http.routes import router
from goodcert.serve.http.service import Service
from goodcert.serve.oip import openapi
from goodcert.serve.oip.dataplane import Dataplane
from goodcert.serve.oip.rest import OpenInference
from goodcert.serve.repository.predictor import Compile
from goodcert.serve.server import assembly
from goodcert.serve.settings.settings import Settings
from goodcert.serve.telemetry.exposition import Exposition
from goodcert.serve.telemetry.metrics import Metrics
from goodcert.serve.telemetry.vitals import Vitals

if TYPE_CHECKING:  # an extra
    from goodcert.serve.telemetry.tracing import Traces


def create_app(
    settings: Settings,
    *,
    compile: Compile | None = None,  # noqa: A002  it is called so in goodcert.engine
    registry: CollectorRegistry | None = None,
    lifecycle: Lifecycle | None = None,
    traces: "Traces | None" = None,
    on_start: Callable[[], None] = lambda: None,
    shared: Path | None = None,
) -> FastAPI:
    """The service as an ASGI application; models are loaded when it starts.

    compile: makes engines, `goodcert.engine.compile` by default. registry: takes the metrics, a new one by
    default. lifecycle: where the server says that it ends. traces: makes spans, by default if the settings say so.
    on_start: is called when the models are loaded. shared: a folder of all processes behind one port.
    """
    lifecycle = lifecycle or Lifecycle()
    traces = traces or assembly.traces_of(settings)
    metrics = Metrics(registry or CollectorRegistry())
    answers = Answers(metrics.count_problem)
    app = _App(
        title="goodcert",
        summary="A prediction, its confidence, and a guaranteed upper bound on it over a whole ball of images.",
        version=version(),
        lifespan=_lifespan(settings, compile, metrics, answers, lifecycle, traces, on_start, shared),
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.answers = answers
    app.include_router(router)
    app.include_router(records.router)
    answers.install(app)
    if traces is not None:
        metrics.tell("decode", traces.record_decode)
    app.state.admission = Admission(
        keyring(settings),
        BytesInFlight(settings.max_bytes_in_flight),
        settings.max_body_bytes,
        lifecycle,
        metrics,
        partial(attrgetter("service.repository.names"), app.state),
        settings.access_log,
        traces,
    )
    return app


class _App(FastAPI):
    """The framework with our middleware around it and not inside: a plain request then never enters it.

    Benchmark: `goodcert bench serve`, in turns with a tree that has it inside, and no `forecast.at_most`: at 64
    connections that takes 7 % more processor time, at 16 one.
    """

    @cached_property
    def _outermost(self) -> ASGIApp:
        state = self.state
        protocol = OpenInference(super().__call__, partial(getattr, state, "dataplane"))
        endpoint = CertifyEndpoint(protocol, partial(getattr, state, "service"))
        return RequestMiddleware(endpoint, state.admission, state.answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._outermost(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = openapi.add_to(super().openapi())
        return self.openapi_schema


def _lifespan(
    settings: Settings,
    make_engine: Compile | None,
    metrics: Metrics,
    answers: Answers,
    lifecycle: Lifecycle,
    traces: "Traces | None",
    on_start: Callable[[], None],
    shared: Path | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loader = assembly.loader(settings, make_engine, metrics, traces, shared)
        disconnects = DisconnectWatcher()
        opened = assembly.models(settings, loader, shared)
        async with opened as (repository, changes), assembly.recorder(settings, metrics) as recorder:
            vitals = Vitals(repository, metrics)
            certifier = Certifier(settings.max_pixels, metrics)
            assembly.warn_of_strangers(settings, repository.names)
            exposition = Exposition(metrics.registry, vitals.refresh)
            in_flight = app.state.admission.in_flight
            app.state.service = Service(
                settings,
                repository,
                certifier,
                exposition,
                answers,
                lifecycle,
                disconnects,
                in_flight,
                recorder,
                changes,
            )
            app.state.dataplane = Dataplane(app.state.service)
            on_start()
            polled = repository.polled(settings.model_poll_seconds)
            async with polled, vitals.every_second(), assembly.grpc(app):
                yield
            await repository.close()
            certifier.close()
            disconnects.close()
            if traces is not None:
                await asyncio.to_thread(traces.close)

    return lifespan
