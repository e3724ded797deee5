"""SIGTERM under load: readiness says so first, whatever was taken is answered, and the end is in time."""

import signal
from collections.abc import Callable
from time import monotonic

from serving import Callers, images, is_ready, serving

GRACE_SECONDS = 20


def test_sigterm_under_load_loses_nothing_that_was_accepted(
    record_property: Callable[[str, object], None],
) -> None:
    flags = ["--threads", "1", "--access-log", "true", "--drain-ms", "400", "--grace-ms", f"{GRACE_SECONDS}000"]
    with serving(*flags) as served:
        served.line(is_ready)
        callers = Callers(served.port, images(8))
        with callers.calling(8):
            callers.wait_for(100)
            served.process.send_signal(signal.SIGTERM)
            told = monotonic()
            served.line(lambda line: line["message"].startswith("ending"))
            readiness, _ = served.ask("/health/ready")
            callers.wait_for(1)  # still taken while balancers look away
            assert served.end() == 0
            took = monotonic() - told
    assert readiness == 503
    assert took < GRACE_SECONDS
    taken = {
        line["request_id"]: line["status"] for line in served.lines if line.get("path", "").endswith("certify")
    }
    lost = {identity: status for identity, status in taken.items() if callers.asked.get(identity) != status}
    assert lost == {}
    assert set(taken.values()) <= {200, 503}
    record_property("found", f"8 callers, {callers.found}; {len(taken)} were accepted, {len(lost)} of them lost")
    assert callers.closed
    assert all(callers.closed)


def test_an_idle_service_ends_at_once_with_status_0() -> None:
    with serving("--threads", "1") as served:
        served.line(is_ready)
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0


def test_told_to_end_while_it_starts_it_ends_at_once_with_status_0() -> None:
    with serving("--threads", "1") as served:
        served.line(lambda line: line["message"].startswith("Waiting for application startup"))
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
    assert not [line for line in served.lines if is_ready(line)]
