"""Triggers of the service as it is started: whoever should be called is, through every restart."""

import json
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from serve.events.conftest import SECRET, Inbox, receiving
from serving import CERTIFY, Served, images, is_ready, serving

PNG = {"Content-Type": "image/png"}
REJECTED = images(1)[0]
CONFIG = """
ledger_url = "{url}"
trigger_retry_seconds = 0.2
trigger_timeout_ms = 1000
threads = 1
request_timeout_ms = 60000

[[triggers]]
name = "person"
url = "http://127.0.0.1:{port}/hook"
secret_file = "{secret}"
confidence_above = 0
image = {image}
allow_private = true
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configured(folder: Path, port: int, image: str = "false") -> str:
    (folder / "secret").write_text(SECRET)
    file, url = folder / "goodcert.toml", f"sqlite:///{folder / 'ledger.db'}"
    file.write_text(CONFIG.format(url=url, port=port, secret=folder / "secret", image=image))
    return str(file)


def certify(served: Served, count: int) -> list[str]:
    """The ids of so many certificates."""
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", headers=PNG, timeout=60) as client:
        answers = [client.post(CERTIFY, content=REJECTED) for _ in range(count)]
    return [answer.raise_for_status().json()["id"] for answer in answers]


def counted(served: Served, name: str) -> float:
    pattern = rf'^goodcert_triggers_{name}{{trigger="person"}} (\S+)$'
    found = re.search(pattern, served.ask("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def delivered(inbox: Inbox) -> list[str]:
    """The ids of the certificates that were received, once for each webhook id."""
    return sorted(json.loads(payload)["data"]["certificate"]["id"] for payload in dict(inbox.got).values())


def test_what_was_raised_while_nobody_listened_survives_kill_9_and_is_delivered(
    tmp_path: Path, port: int, record_property: Callable[[str, object], None]
) -> None:
    config, inbox = configured(tmp_path, port), Inbox()
    with serving("--config", config) as served:
        ids = certify(served, 30)
        served.line(lambda line: "person: webhooks are not received" in line["message"])
        assert counted(served, "raised_total") == 30
        tried = counted(served, "failed_total")
        assert tried > 0
        served.process.send_signal(signal.SIGKILL)
        served.process.wait()
    with serving("--config", config) as served, receiving(inbox, port):
        ready = time.monotonic()
        ids += certify(served, 5)
        inbox.wait_for(35)
        took = time.monotonic() - ready
        assert delivered(inbox) == sorted(ids)
        assert len(inbox.got) == 35  # nothing had been received before, so nothing twice
        settled(served, delivered_total=35, raised_total=5)
    down = f"nobody listened for {tried:.0f} attempts; 30 webhooks raised before the kill, 5 after it"
    record_property("found", f"{down}; 35 delivered {took:.1f} s after the start, 0 missing, 0 twice")


def settled(served: Served, **counts: float) -> None:
    """Waits until the metrics say so: the receiver knows a moment earlier."""
    found = {}
    for _ in range(1000):
        found = {name: counted(served, name) for name in counts}
        if found == counts:
            return
    raise AssertionError(found)


def test_killed_in_the_middle_of_delivering_nothing_is_missing(
    tmp_path: Path, port: int, record_property: Callable[[str, object], None]
) -> None:
    config, inbox = configured(tmp_path, port), Inbox()
    with serving("--config", config) as served:
        ids = certify(served, 60)
        with receiving(inbox, port):
            inbox.wait_for(3)
            served.process.send_signal(signal.SIGKILL)
            served.process.wait()
    first = {identity for identity, _ in inbox.got}
    with serving("--config", config), receiving(inbox, port):
        inbox.wait_for(60)
    got = [identity for identity, _ in inbox.got]
    assert first < set(got)
    assert delivered(inbox) == sorted(ids)
    again = len(got) - len(set(got))
    record_property("found", f"killed after {len(first)} of 60 webhooks; 0 missing, {again} sent again, same id")


def test_several_workers_share_one_outbox_and_deliver_each_webhook_once(tmp_path: Path, port: int) -> None:
    config, inbox = configured(tmp_path, port, image="true"), Inbox()
    with receiving(inbox, port), serving("--config", config, "--workers", "2") as served:
        served.line(lambda _: len({line["pid"] for line in served.lines if is_ready(line)}) == 2)
        ids = certify(served, 40)
        inbox.wait_for(40)
        assert served.ask("/health/ready")[0] == 200
    assert delivered(inbox) == sorted(ids)
    assert len(inbox.got) == 40
    assert all("image" in json.loads(payload)["data"] for _, payload in inbox.got)
