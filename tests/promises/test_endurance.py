"""Ten thousand mixed requests to the service as it is started: how much memory it has grown by."""

import http.client
import random
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

import hostile_images
from serving import CERTIFY, images, is_ready, serving

REQUESTS = 10_000
MOST_MIB = 100
WARM = 500
CALLERS = 8
LONGEST_SECONDS = 1200


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def bodies() -> list[bytes]:
    """Good images, hostile ones of every family but those that are large to make, and plain nonsense."""
    families = [family for name, family in hostile_images.FAMILIES.items() if name != "bombs"]
    hostile = [data for family in families for _, data in islice(family(), 40)]
    return images(200) + hostile + [b"", b"x" * 10**6, b"\0" * (11 * 2**20)]


def ask(connection: http.client.HTTPConnection, chance: random.Random, body: bytes) -> int:
    """One request of any kind; 0 where the service hung up, as it may on an upload that it has refused."""
    kind = chance.random()
    try:
        if kind < 0.05:
            connection.request("GET", chance.choice(["/v1/models", "/metrics", "/nothing", "/health/ready"]))
        elif kind < 0.1:
            connection.request("POST", CERTIFY, iter([body[:9], body[9:]]), {"Content-Type": "image/png"})
        elif kind < 0.15:
            form = b"--B\r\nContent-Disposition: form-data; name=images\r\n\r\n" + body + b"\r\n--B--\r\n"
            connection.request("POST", CERTIFY, form, {"Content-Type": "multipart/form-data; boundary=B"})
        else:
            query = chance.choice([*[""] * 7, "?epsilon=0.1", "?epsilon=2", "?radius=true"])
            connection.request("POST", CERTIFY + query, body, {"Content-Type": "image/png"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return 0
    return answer.status


def call(port: int, caller: int, offered: list[bytes], count: int) -> Counter[int]:
    """So many requests, one after another; how often each status came back."""
    chance = random.Random(caller)  # noqa: S311  nothing is secret
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        return Counter(ask(connection, chance, chance.choice(offered)) for _ in range(count))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_grows_by_no_more_than_100_mib(
    record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.LONGEST_SECONDS", LONGEST_SECONDS)
    offered = bodies()

    def all_call(count: int) -> Counter[int]:
        each = [(served.port, caller, offered, count // CALLERS) for caller in range(CALLERS)]
        return sum(callers.map(lambda given: call(*given), each), Counter())

    with serving("--threads", "1") as served, ThreadPoolExecutor(CALLERS) as callers:
        served.line(is_ready)
        all_call(WARM)
        before = resident_mib(served.process.pid)
        statuses = all_call(REQUESTS)
        grown = resident_mib(served.process.pid) - before
    told = ", ".join(f"{count} x {status or 'hung up on'}" for status, count in sorted(statuses.items()))
    record_property(
        "found", f"{CALLERS} callers, {REQUESTS} requests: {told}; from {before:.0f} MiB by {grown:.0f}"
    )
    assert statuses[200] > REQUESTS / 20
    assert not [status for status in statuses if status >= 500], statuses
    assert statuses[0] < REQUESTS / 20
    assert grown <= MOST_MIB
