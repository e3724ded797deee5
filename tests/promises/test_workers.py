"""A worker killed under load is replaced; no answer is wrong, and nothing is counted twice."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from serving import Callers, Served, images, is_ready, said, serving

WITHIN_SECONDS = 5


def ready_workers(served: Served) -> list[int]:
    return [line["pid"] for line in served.lines if is_ready(line)]


def processor_seconds(pid: int) -> float:
    """What the process has used so far; on a busy machine it waits, which is none of its fault."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def counted(served: Served, pattern: str) -> float:
    _, text = served.ask("/metrics")
    return sum(float(line.split()[-1]) for line in text.splitlines() if re.match(pattern, line))


def test_a_worker_killed_under_load_is_replaced_without_a_wrong_answer_or_a_double_count(
    record_property: Callable[[str, object], None],
) -> None:
    with serving("--workers", "2", "--threads", "1") as served:
        served.line(lambda _: len(set(ready_workers(served))) == 2)
        first, second = ready_workers(served)
        callers = Callers(served.port, images(8))
        with callers.calling(8):
            callers.wait_for(50)
            os.kill(first, signal.SIGKILL)
            killed = time.monotonic()
            successor = served.line(lambda line: is_ready(line) and line["pid"] not in (first, second))["pid"]
            took, used = time.monotonic() - killed, processor_seconds(successor)
            assert used < WITHIN_SECONDS
            os.kill(second, signal.SIGKILL)  # now the successor answers alone
            callers.wait_for(50)
        assert_right(callers)
        assert_counted_once(served, callers)
        back = f"the first one replaced within {took:.1f} s, {used:.1f} s of them processor time"
        record_property("found", f"8 callers, 2 workers killed, {back}; {callers.found}, 0 wrong")
        assert counted(served, "goodcert_worker_restarts_total") == 2
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0


def assert_right(callers: Callers) -> None:
    """Every answer about an image is the same to the bit, whoever gave it."""
    by_image: dict[str, dict[str, object]] = {}
    for certificate in callers.answers.values():
        assert said(certificate) == by_image.setdefault(certificate["image"]["sha256"], said(certificate))
    assert len(by_image) == 8
    assert set(callers.asked.values()) <= {200, 0}


def assert_counted_once(served: Served, callers: Callers) -> None:
    """What a killed worker counted without its answer getting through is the only difference there may be."""
    received, broken = len(callers.answers), list(callers.asked.values()).count(0)
    for counter in ('goodcert_requests_total{.*code="200"', "goodcert_images_total"):
        assert received <= counted(served, counter) <= received + broken


def test_workers_end_when_their_supervisor_is_killed() -> None:
    with serving("--workers", "2", "--threads", "1") as served:
        served.line(lambda _: len(set(ready_workers(served))) == 2)
        served.process.kill()
        served.end()  # comes when the last of them has closed the log
        finished = [line for line in served.lines if line["message"].startswith("Finished server process")]
        assert len(finished) == 2
