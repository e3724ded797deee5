"""Rules, alerts and dashboard name metrics that exist, do what they say, and work with a real Prometheus."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus import ask, eventually, free_port, prometheus, tool

metrics = pytest.importorskip("goodcert.serve.telemetry.metrics")
prometheus_client = pytest.importorskip("prometheus_client")

from goodcert.serve.batching.batcher import BatchRun  # noqa: E402  after the check that the extra is there
from goodcert.serve.telemetry.exposition import own_port  # noqa: E402

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "rules.yml"


def groups() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[str]:
    return [rule["alert"] for rule in groups() if "alert" in rule]


def dashboard() -> list[str]:
    board = json.loads((ROOT / "docker" / "dashboard.json").read_text())
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]]


def series() -> dict[str, tuple[str, ...]]:
    """What may be asked for, with its labels: samples of the service, and what the rules record."""
    known: dict[str, tuple[str, ...]] = {"up": ()}
    for row in metrics.Metrics(prometheus_client.CollectorRegistry()).rows:
        endings = ("_bucket", "_sum", "_count") if row.kind == "histogram" else ("",)
        known |= {row.name + ending: row.labels for ending in endings}
    return known | {rule["record"]: () for rule in groups() if "record" in rule}


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:up|goodcert(?::\w+)+|goodcert_\w+)\b", re.sub(r'"[^"]*"', "", expression)))


@pytest.mark.parametrize("expression", sorted({*dashboard(), *(rule["expr"] for rule in groups())}))
def test_an_expression_names_series_and_labels_that_exist(expression: str) -> None:
    assert named(expression)
    assert named(expression) <= set(series())
    for name, selectors in re.findall(r"(goodcert_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*[=!]", selectors)) <= set(series()[name])


def test_an_expression_uses_values_of_labels_that_exist() -> None:
    problems = pytest.importorskip("goodcert.serve.http.problems")
    codes = {problem.code for problem in problems.PROBLEMS}
    (pattern,) = re.findall(r'goodcert_rejections_total\{code=~"([^"]+)"', RULES.read_text())
    assert set(pattern.split("|")) <= codes


def test_every_alert_says_how_urgent_it_is_and_has_its_section() -> None:
    sections = re.findall(r"^### (Goodcert\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert sections == alerts()
    for rule in groups():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_alert_is_seen_to_fire() -> None:
    tested = yaml.safe_load((Path(__file__).parent / "rules_test.yml").read_text())["tests"]
    fired = {
        case["alertname"] for test in tested for case in test.get("alert_rule_test", []) if "exp_alerts" in case
    }
    assert fired == set(alerts())


def test_panels_lie_side_by_side() -> None:
    panels = json.loads((ROOT / "docker" / "dashboard.json").read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "rules", "docker/rules.yml"],
        ["check", "config", "docker/prometheus.yml"],
        ["test", "rules", "tests/docker/rules_test.yml"],
    ],
    ids=" ".join,
)
def test_promtool_passes(arguments: list[str]) -> None:
    told = subprocess.run([tool("promtool"), *arguments], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_promtool_has_nothing_to_say_about_the_metrics() -> None:
    text = prometheus_client.generate_latest(busy().registry)
    told = subprocess.run([tool("promtool"), "check", "metrics"], input=text, capture_output=True)
    assert (told.returncode, told.stdout + told.stderr) == (0, b"")


def busy() -> Any:
    """Metrics that all have a value."""
    made = metrics.Metrics(prometheus_client.CollectorRegistry())
    made.requests["tiny", "200"].inc()
    made.count_problem("queue_full")
    made.record_run(BatchRun(3, (0.001, 0.002, 0.003), 0.004))
    made.stages["total",].observe(0.01)
    for verdict in ("in_distribution", "out_of_distribution_certified"):
        made.record_answer("tiny", verdict, 0.5, 0.6)
    made.queue_items["tiny",].set(2)
    made.queue_oldest["tiny",].set(0.1)
    made.model_info["tiny", "1", "abc", "GOOD_100"].set(1)
    made.model_ready["tiny", "1"].set(1)
    made.model_unsound["tiny", "1"].set(0)
    made.build_info["0", "3"].set(1)
    made.gpu_memory["used",].set(1)
    made.gpu_memory["total",].set(2)
    for counter in (made.triggers_raised, made.triggers_delivered, made.triggers_failed, made.triggers_dead):
        counter["person",].inc()
    made.record_loss(1, ["person"])
    made.trigger_outbox_items["person",].set(1)
    made.trigger_outbox_oldest["person",].set(1)
    return made


def test_a_real_prometheus_understands_rules_and_dashboard(tmp_path: Path) -> None:
    tool("prometheus")
    target, made = free_port(), busy()
    with own_port(made.registry, "127.0.0.1", target), prometheus(tmp_path, target) as port:
        names = eventually(lambda: [name for name in ask(port, "label/__name__/values") if "goodcert_" in name])
        scraped = {row.name for row in made.rows if row.kind != "histogram"}
        assert scraped <= set(names)
        eventually(lambda: ask(port, "query", query="goodcert:requests:rate5m")["result"])
        rules = [rule for group in ask(port, "rules")["groups"] for rule in group["rules"]]
        assert [rule["name"] for rule in rules if rule.get("health") == "err"] == []
        for expression in dashboard():
            ask(port, "query", query=expression)  # raises where Prometheus does not understand it
