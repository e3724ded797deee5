"""Spans, as an exporter in memory gets them."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import numpy as np
import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import select

from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.tables import outbox
from goodcert.serve.settings.settings import SettingsError, load
from goodcert.serve.telemetry.tracing import Traces, exporting
from serve.events.conftest import SECRET

TRACE, CALLER = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
PARENT = f"00-{TRACE:032x}-{CALLER:016x}-01"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def traced(start, exporter):
    """Starts a service whose spans end up in the exporter."""

    @contextmanager
    def start_it(**settings):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with start(traces=Traces(provider), **settings) as service:
            yield service

    return start_it


def by_name(exporter):
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_request_has_a_span_with_decode_queue_and_engine_below_it_in_this_order(traced, exporter, png):
    with traced() as service:
        answer = service.certify(png)
    spans = by_name(exporter)
    assert set(spans) == {"certify", "decode", "queue", "engine"}
    whole, parts = spans["certify"], [spans[name] for name in ("decode", "queue", "engine")]
    assert {part.parent.span_id for part in parts} == {whole.context.span_id}
    times = [time for part in parts for time in (part.start_time, part.end_time)]
    assert parts[1].end_time == parts[2].start_time
    assert whole.start_time < times[0]
    assert times[-1] < whole.end_time
    assert all(part.start_time <= part.end_time for part in parts)
    assert whole.attributes["http.response.status_code"] == 200
    assert whole.attributes["goodcert.request_id"] == answer.headers["X-Request-Id"]
    assert spans["engine"].attributes["goodcert.batch_size"] == 1


def test_the_callers_trace_goes_on(traced, exporter, png):
    with traced() as service:
        service.certify(png, headers={"traceparent": PARENT})
    spans = by_name(exporter)
    assert {span.context.trace_id for span in spans.values()} == {TRACE}
    assert spans["certify"].parent.span_id == CALLER


def test_a_webhook_that_the_request_raises_is_kept_with_its_span(traced, exporter, png, tmp_path, free_port):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    rule = {"name": "person", "url": f"http://127.0.0.1:{free_port}/", "secret": SECRET, "confidence_above": 0}
    with traced(ledger_url=url, triggers=[rule | {"allow_private": True}]) as service:
        service.certify(png, headers={"traceparent": PARENT})
    engine = existing(url)
    with engine.begin() as connection:
        kept = connection.execute(select(outbox.c.traceparent)).scalar_one()
    engine.dispose()
    assert kept == f"00-{TRACE:032x}-{by_name(exporter)['certify'].context.span_id:016x}-01"


@pytest.mark.parametrize("odd", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_parent_that_is_none_begins_a_trace_of_its_own(traced, exporter, png, odd):
    with traced() as service:
        assert service.certify(png, headers={"traceparent": odd}).status_code == 200
    assert by_name(exporter)["certify"].parent is None


def test_a_trace_that_the_caller_does_not_sample_makes_no_spans(traced, exporter, png):
    with traced() as service:
        assert service.certify(png, headers={"traceparent": PARENT[:-1] + "0"}).status_code == 200
    assert exporter.get_finished_spans() == ()


def test_each_image_of_a_form_has_spans_below_the_one_request(traced, exporter, png):
    with traced() as service:
        service.certify_form([png] * 3)
    names = [span.name for span in exporter.get_finished_spans()]
    assert sorted(names) == sorted(["decode", "queue", "engine"] * 3 + ["certify"])


def test_a_fault_of_ours_is_an_error_and_a_refusal_is_none(traced, exporter, png):
    with traced() as service:
        service.certify(b"no image")
        service.engines[0].fail = True
        service.certify(png)
    codes = [span.status.status_code for span in exporter.get_finished_spans() if span.name == "certify"]
    assert codes == [StatusCode.UNSET, StatusCode.ERROR]


def test_requests_of_the_other_protocol_are_traced(traced, exporter):
    with traced() as service:
        service.client.post("/v2/models/tiny/infer", json={})
    assert by_name(exporter)["certify"].attributes["url.path"] == "/v2/models/tiny/infer"


def test_an_image_that_crown_bounds_has_the_same_spans(traced, exporter, png):
    with traced() as service:
        service.certify(png, params={"method": "crown"})
    spans = by_name(exporter)
    assert set(spans) == {"certify", "decode", "queue", "engine"}
    assert {spans[name].parent.span_id for name in ("queue", "engine")} == {spans["certify"].context.span_id}
    assert spans["engine"].attributes["goodcert.batch_size"] == 1


def test_an_image_that_auto_asks_crown_about_has_been_in_both_queues(traced, exporter, png, write_model, tmp_path):
    write_model(tmp_path / "unsure", threshold=0.9999)
    with traced(models=tmp_path / "unsure") as service:
        service.engines[0].slack = 10.0
        service.certify(png, params={"method": "auto"})
    names = [span.name for span in exporter.get_finished_spans()]
    assert sorted(names) == sorted(["decode", *["queue", "engine"] * 2, "certify"])


def test_a_call_over_grpc_is_traced_below_its_caller(traced, exporter, png):
    grpc = pytest.importorskip("tritonclient.grpc")
    given = grpc.InferInput("images", [1], "BYTES").set_data_from_numpy(np.array([png], dtype=np.object_))
    with (
        traced(grpc_port=0) as service,
        grpc.InferenceServerClient(f"127.0.0.1:{service.app.state.grpc_port}") as client,
    ):
        client.infer("tiny", [given], headers={"traceparent": PARENT})
        client.is_server_ready()
    spans = by_name(exporter)
    assert set(spans) == {"certify", "decode", "queue", "engine"}
    assert {span.context.trace_id for span in spans.values()} == {TRACE}
    assert spans["certify"].parent.span_id == CALLER
    assert spans["certify"].attributes["url.path"] == "/v2/models/tiny/infer"


def test_health_and_metrics_are_not_traced(traced, exporter):
    with traced() as service:
        for path in ("/health/ready", "/metrics", "/v1/models"):
            service.client.get(path)
    assert exporter.get_finished_spans() == ()


def test_without_the_extra_the_setting_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"traces: .*goodcert\[traces\]"):
        load(traces=True)


class Collector(BaseHTTPRequestHandler):
    """Takes spans over OTLP/HTTP and remembers what came."""

    came: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self):
        self.came.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_spans_are_sent_where_the_variables_of_opentelemetry_say_before_the_end(start, png, monkeypatch):
    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "camera-7")
        with start(traces=exporting("1.2.3")) as service:
            service.certify(png)
        collector.shutdown()
        thread.join()
    ((path, spans),) = Collector.came
    assert path == "/v1/traces"
    assert all(word in spans for word in (b"camera-7", b"1.2.3", b"certify", b"decode", b"queue", b"engine"))
