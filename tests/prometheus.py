"""A real Prometheus with the shipped rules, where the Debian package is installed."""

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LONGEST_SECONDS = 60


def tool(name: str) -> str:
    path = shutil.which(name)
    return path or pytest.skip(f"{name} is not installed; it comes with the Debian package prometheus")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[int]:
    """A real Prometheus with the shipped rules that scrapes `target` every second; gives its port."""
    config = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ROOT / "docker" / "rules.yml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        tool("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        try:
            yield port
        finally:
            process.terminate()


def ask(port: int, path: str, **query: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]


def eventually(ask_again: Any) -> Any:
    """What `ask_again` gives once it gives something; it watches another program."""
    ends = monotonic() + LONGEST_SECONDS
    while monotonic() < ends:
        try:
            if given := ask_again():
                return given
        except OSError:
            pass  # not listening yet
        Event().wait(0.2)
    raise AssertionError("it never came")
