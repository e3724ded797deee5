"""OpenTelemetry spans, an extra: one for a certify request, below it decode, and queue and engine for each image.

Costs nothing when off: this is not imported then. The spans of a stage are made when it is over, from the times
that the metrics take anyway. Exporter, sampler and more follow the variables of OpenTelemetry (`OTEL_*`).
"""

from collections.abc import Iterable
from time import time_ns

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

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

    def begin(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> "RequestSpan | None":
        """The span of a request for certificates, below the one that `traceparent` names; None for any other."""
        if not path.endswith(_TRACED):
            return None
        attributes = {"http.request.method": method, "url.path": path}
        span = self._tracer.start_span("certify", _callers(headers), trace.SpanKind.SERVER, attributes)
        return RequestSpan(span)

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


class RequestSpan:
    """The span of a request, current until its end."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._token = attach(trace.set_span_in_context(span))
        _note(span)

    def fail(self, error: Exception) -> None:
        """Note an error that is not foreseen."""
        self._span.record_exception(error)

    def end(self, status: int) -> None:
        """status: of the answer, 0 where there is none."""
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()
        detach(self._token)


def exporting(version: str) -> Traces:
    """Traces that are sent over OTLP/HTTP, in the background."""
    about = Resource({"service.name": "goodcert", "service.version": version})
    provider = TracerProvider(resource=about.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


def _callers(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    return TraceContextTextMapPropagator().extract({name: named[name] for name in _PASSED_ON if name in named})


def _note(span: trace.Span) -> None:
    """Let the queue, the log and webhooks know what they belong to; forgotten with the task of the request."""
    lanes.note.set(get_current())
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    logs.traceparent.set(carrier.get("traceparent", ""))
    span.set_attribute("goodcert.request_id", logs.request_id.get())


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
