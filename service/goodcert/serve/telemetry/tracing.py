"""OpenTelemetry spans, an extra: one for a certify request, below it decode, and queue and engine for each image.

Costs nothing when off: this is not imported then. The spans of a stage are made when it is over, from the times
that the metrics take anyway. Exporter, sampler and more follow the variables of OpenTelemetry (`OTEL_*`).
"""

from time import time_ns

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from goodcert.serve.batching import lanes
from goodcert.serve.batching.batcher import BatchRun
from goodcert.serve.core import logs

_TRACED = ("/certify", "/infer")
_PASSED_ON = ("traceparent", "tracestate")


class Traces:
    """Makes the spans of `provider`, which is shut down with it."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("goodcert")

    def middleware(self, app: ASGIApp) -> ASGIApp:
        """`app` with a span around every request for certificates, below the one that `traceparent` names."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].endswith(_TRACED):
                await app(scope, receive, send)
                return
            with self._tracer.start_as_current_span(
                "certify",
                _callers(scope),
                trace.SpanKind.SERVER,
                {"http.request.method": scope["method"], "url.path": scope["path"]},
            ) as span:
                _note(span)
                await app(scope, receive, _watched(send, span))

        return traced

    def record_decode(self, seconds: float) -> None:
        """An upload was decoded, just now and for the request that is current."""
        ended = time_ns()
        self._span("decode", get_current(), ended - _nanoseconds(seconds), ended)

    def record_run(self, run: BatchRun) -> None:
        """A run of the engine has ended, just now."""
        ended = time_ns()
        started = ended - _nanoseconds(run.engine_seconds)
        for context, waited in zip(run.notes, run.waited_seconds, strict=True):
            if isinstance(context, Context):
                self._span("queue", context, started - _nanoseconds(waited), started)
                self._span("engine", context, started, ended, {"goodcert.batch_size": run.size})

    def close(self) -> None:
        """Send what is not sent yet."""
        self._provider.shutdown()

    def _span(
        self, name: str, context: Context, started: int, ended: int, attributes: dict[str, int] | None = None
    ) -> None:
        self._tracer.start_span(name, context, attributes=attributes, start_time=started).end(ended)


def exporting(version: str) -> Traces:
    """Traces that are sent over OTLP/HTTP, in the background."""
    about = Resource({"service.name": "goodcert", "service.version": version})
    provider = TracerProvider(resource=about.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


def _callers(scope: Scope) -> Context:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return TraceContextTextMapPropagator().extract({name: headers[name] for name in _PASSED_ON if name in headers})


def _note(span: trace.Span) -> None:
    """Let the queue, the log and webhooks know what they belong to; forgotten with the task of the request."""
    lanes.note.set(get_current())
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    logs.traceparent.set(carrier.get("traceparent", ""))
    span.set_attribute("goodcert.request_id", logs.request_id.get())


def _watched(send: Send, span: trace.Span) -> Send:
    async def watched(message: Message) -> None:
        if message["type"] == "http.response.start":
            span.set_attribute("http.response.status_code", message["status"])
            if message["status"] >= 500:
                span.set_status(trace.StatusCode.ERROR)
        await send(message)

    return watched


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
