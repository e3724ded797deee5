"""The images hold little, run as nobody in particular, and are configured with settings that exist."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = ["Dockerfile.cpu", "Dockerfile.cuda"]
Stage = list[tuple[str, str]]


def _stages(name: str) -> list[Stage]:
    """The stages of a Dockerfile, each a list of (instruction, arguments) that opens with its FROM."""
    text = re.sub(r"^\s*#.*\n", "", (DOCKER / name).read_text(), flags=re.MULTILINE)
    lines = [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    stages: list[Stage] = []
    for word, _, rest in (line.partition(" ") for line in lines):
        stages += [[]] if word == "FROM" else []
        stages[-1].append((word, rest.strip()))
    return stages


def _final(name: str, word: str) -> list[str]:
    """The arguments of every such instruction of the stage that becomes the image."""
    return [rest for instruction, rest in _stages(name)[-1] if instruction == word]


def _environment(name: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in _final(name, "ENV") for pair in rest.split())


def _yaml(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text())
    return read


def _filled(text: str, environment: Mapping[str, str]) -> str:
    """`${NAME:-default}` as compose fills it in."""
    found = re.fullmatch(r"\$\{(\w+):-(.*)\}", text)
    return text if found is None else environment.get(found[1]) or found[2]


@contextmanager
def _health(status: int) -> Iterator[int]:
    """A real server whose /health/ready answers with `status`; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", FILES)
def test_the_image_runs_as_a_numbered_user_who_is_not_root(name: str):
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", _final(name, "USER")[-1])


@pytest.mark.parametrize("name", FILES)
def test_the_image_takes_the_environment_from_the_builder_and_installs_nothing(name: str):
    builder = _stages(name)[0][0][1].split()[-1]
    assert [rest.split()[0] for rest in _final(name, "COPY")] == [f"--from={builder}"]
    assert _final(name, "ADD") == []
    tools = re.compile(r"\b(apt|apt-get|apk|pip|gcc|g\+\+|make|build-essential|curl|wget)\b")
    assert [rest for rest in _final(name, "RUN") if tools.search(rest)] == []


@pytest.mark.parametrize("name", FILES)
def test_every_stage_stands_on_the_slim_python(name: str):
    assert {stage[0][1].split()[0] for stage in _stages(name)} == {"python:3.12-slim"}


@pytest.mark.parametrize("name", FILES)
def test_the_builder_is_given_all_that_the_wheel_is_made_of(name: str):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {package.split("/")[0] for package in packages}
    copied = {source for word, rest in _stages(name)[0] if word == "COPY" for source in rest.split()[:-1]}
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == needed
    assert sent == needed


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("index", "arguments"), [("", []), ("https://index.test/cpu", ["--extra-index-url", "https://index.test/cpu"])]
)
def test_another_index_is_asked_only_when_it_is_given(name: str, index: str, arguments: list[str]):
    builder = _stages(name)[0]
    assert ("ARG", 'TORCH_INDEX_URL=""') in builder
    (option,) = {found for _, rest in builder for found in re.findall(r"\$\{TORCH_INDEX_URL:\+[^}]*\}", rest)}
    shell = subprocess.run(
        ["sh", "-c", f"for word in {option}; do echo $word; done"],
        env={"TORCH_INDEX_URL": index},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shell.stdout.split() == arguments


def test_no_file_names_an_address_but_loopback_and_its_neighbours():
    files = [*DOCKER.iterdir(), ROOT / ".dockerignore"]
    hosts = [host for file in files for host in re.findall(r"https?://([^/:'\" ]+)", file.read_text())]
    assert {"127.0.0.1"} <= set(hosts) <= {"127.0.0.1", *_yaml("compose.yaml")["services"]}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_is_green_only_when_the_service_is_ready(name: str, status: int, healthy: bool):
    program, *arguments = json.loads(_final(name, "HEALTHCHECK")[0].partition("CMD ")[2])
    assert program == "python"
    with _health(status) as port:
        away = {"GOODCERT_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
        checked = subprocess.run([sys.executable, *arguments], env=os.environ | away, capture_output=True)
    assert (checked.returncode == 0) is healthy


@pytest.mark.parametrize("name", FILES)
def test_the_container_serves_on_the_port_that_it_exposes(name: str):
    assert [json.loads(_final(name, word)[0]) for word in ("ENTRYPOINT", "CMD")] == [["goodcert"], ["serve"]]
    environment = _environment(name)
    assert _final(name, "EXPOSE") == [environment["GOODCERT_PORT"]]
    assert environment["GOODCERT_HOST"] == "0.0.0.0"  # noqa: S104 - the container's own address is meant
    assert environment["GOODCERT_DEVICE"] == name.removeprefix("Dockerfile.")


def test_every_setting_that_is_named_exists():
    settings = pytest.importorskip("goodcert.serve.settings.settings")
    known = {f"GOODCERT_{name.upper()}" for name in settings.Settings.model_fields}
    named = {name for file in DOCKER.iterdir() for name in re.findall(r"GOODCERT_\w+", file.read_text())}
    assert named
    assert named <= known


@pytest.mark.parametrize(
    ("given", "starts"),
    [
        ({"GOODCERT_API_KEYS": "a,b"}, True),
        ({"GOODCERT_ALLOW_ANONYMOUS": "true"}, True),
        ({"GOODCERT_ALLOW_ANONYMOUS": "false"}, False),
        ({}, False),
    ],
)
def test_the_service_starts_in_compose_with_keys_or_for_anyone(
    given: dict[str, str], starts: bool, monkeypatch: pytest.MonkeyPatch
):
    settings = pytest.importorskip("goodcert.serve.settings.settings")
    written = _yaml("compose.yaml")["services"]["goodcert"]["environment"]
    for name in [name for name in os.environ if name.startswith("GOODCERT_")]:
        monkeypatch.delenv(name)
    inside = _environment("Dockerfile.cpu") | {name: _filled(value, given) for name, value in written.items()}
    for name, value in inside.items():
        if name.startswith("GOODCERT_"):
            monkeypatch.setenv(name, value)
    if starts:
        assert bool(settings.load().api_keys) is ("GOODCERT_API_KEYS" in given)
    else:
        with pytest.raises(settings.SettingsError, match="API key"):
            settings.load()


@pytest.mark.parametrize("service", ["goodcert", "prometheus", "grafana"])
def test_a_container_can_neither_write_nor_gain_rights_nor_be_reached_from_outside(service: str):
    written = _yaml("compose.yaml")["services"][service]
    assert written["read_only"] is True
    assert written["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in written["security_opt"]
    assert "/tmp" in written["tmpfs"]  # noqa: S108 - a path inside the container
    assert written["ports"]
    assert all(port.startswith("127.0.0.1:") for port in written["ports"])
    assert not {"privileged", "network_mode", "cap_add", "user"} & set(written)


def test_prometheus_asks_the_service_where_its_metrics_are_open_to_neighbours_only():
    services = _yaml("compose.yaml")["services"]
    (job,) = _yaml("prometheus.yml")["scrape_configs"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert services[host]["environment"]["GOODCERT_METRICS_PORT"] == port
    assert not [mapping for mapping in services[host]["ports"] if mapping.endswith(f":{port}")]
    assert job["metrics_path"] == "/metrics"


def test_compose_waits_longer_for_the_service_to_end_than_the_service_does():
    settings = pytest.importorskip("goodcert.serve.settings.settings")
    waits = _yaml("compose.yaml")["services"]["goodcert"]["stop_grace_period"]
    supervisor = pytest.importorskip("goodcert.serve.server.supervisor")
    longest = settings.Settings.model_fields["grace_ms"].default / 1000 + supervisor.LEAVE_SECONDS
    assert int(waits.removesuffix("s")) > longest


def test_files_that_are_mounted_exist():
    volumes = [
        volume for service in _yaml("compose.yaml")["services"].values() for volume in service.get("volumes", [])
    ]
    files = [volume.split(":")[0] for volume in volumes if volume.startswith(".")]
    assert files
    assert all((DOCKER / file).is_file() for file in files)
