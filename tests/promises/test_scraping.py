"""A real Prometheus scrapes the real service, two workers of it, on the port for metrics."""

from pathlib import Path

from prometheus import ask, eventually, free_port, prometheus, tool
from serving import Callers, images, is_ready, serving

COUNTED = 'sum(goodcert_requests_total{code="200"})'


def test_prometheus_counts_what_two_workers_answered(tmp_path: Path) -> None:
    tool("prometheus")
    metrics_port = free_port()
    flags = ["--workers", "2", "--threads", "1", "--metrics-port", str(metrics_port), "--access-log", "true"]
    with serving(*flags) as served, prometheus(tmp_path, metrics_port) as port:
        served.line(lambda _: sum(map(is_ready, served.lines)) == 2)
        callers = Callers(served.port, images(4))
        with callers.calling(8):
            callers.wait_for(40)
        asked = len(callers.answers)
        value = eventually(
            lambda: [x for x in ask(port, "query", query=COUNTED)["result"] if float(x["value"][1]) >= asked]
        )
        assert float(value[0]["value"][1]) == asked
        assert len({line["pid"] for line in served.lines if line.get("status") == 200}) == 2  # both had a share
        (up,) = ask(port, "query", query='up{job="goodcert"}')["result"]
        assert up["value"][1] == "1"
        assert ask(port, "query", query='goodcert_model_ready{model="mnist-good100"}')["result"]
