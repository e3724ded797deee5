"""SIGTERM under load: readiness says so first, whatever was taken is answered, and the end is in time."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from time import monotonic

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from prometheus import free_port
from serving import LONGEST_SECONDS, Callers, Line, Served, images, is_ready, serving

LONGEST_MS = 1000 * LONGEST_SECONDS
GRACE_SECONDS = 20
LOADED = ["--threads", "1", "--access-log", "true", "--drain-ms", "400", "--grace-ms", f"{GRACE_SECONDS}000"]


def is_ending(line: Line) -> bool:
    return line["message"].startswith("ending")


def lost(served: Served, path: str, asked: dict[str, int]) -> tuple[int, dict[str, int]]:
    """How many requests were accepted, and those of them whose caller did not see the status they got."""
    taken = {line["request_id"]: line["status"] for line in served.lines if line.get("path", "").endswith(path)}
    assert set(taken.values()) <= {200, 503}
    return len(taken), {identity: status for identity, status in taken.items() if asked.get(identity) != status}


def test_sigterm_under_load_loses_nothing_that_was_accepted(
    record_property: Callable[[str, object], None],
) -> None:
    with serving(*LOADED) as served:
        served.line(is_ready)
        callers = Callers(served.port, images(8))
        with callers.calling(8):
            callers.wait_for(100)
            served.process.send_signal(signal.SIGTERM)
            told = monotonic()
            served.line(is_ending)
            readiness, _ = served.ask("/health/ready")
            callers.wait_for(1)  # still taken while balancers look away
            assert served.end() == 0
            took = monotonic() - told
    assert readiness == 503
    assert took < GRACE_SECONDS
    taken, missing = lost(served, "certify", callers.asked)
    assert missing == {}
    record_property("found", f"8 callers, {callers.found}; {taken} were accepted, {len(missing)} of them lost")
    assert callers.closed
    assert all(callers.closed)


@contextmanager
def inferring(port: int, threads: int) -> Iterator[dict[str, int]]:
    """Callers over gRPC, each with a connection of its own, until they are refused; the statuses they see so far,
    by request id."""
    asked: dict[str, int] = {}
    given = triton.InferInput("images", [1, 1, 28, 28], "FP32")
    given.set_data_from_numpy(np.zeros((1, 1, 28, 28), np.float32))

    def infer(caller: int) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        with triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=own) as client:
            for number in count():
                identity = f"grpc-{caller}-{number}"
                try:
                    client.infer("mnist-good100", [given], headers={"x-request-id": identity})
                    asked[identity] = 200
                except InferenceServerException:
                    asked[identity] = 503
                    return

    with ThreadPoolExecutor(threads) as pool:
        calls = pool.map(infer, range(threads))
        yield asked
        list(calls)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_waits_for_no_balancer(workers: int) -> None:
    long = ["--drain-ms", str(2 * LONGEST_MS), "--grace-ms", str(3 * LONGEST_MS)]
    with serving("--threads", "1", "--workers", str(workers), *long) as served:
        served.line(lambda _: sum(map(is_ready, served.lines)) == workers)
        told = {line["pid"] for line in filter(is_ready, served.lines)} | {served.process.pid}
        for pid in told:  # as a terminal tells everyone in it
            os.kill(pid, signal.SIGINT)
        assert served.end() == 0


def test_nor_do_two_workers_over_http_and_grpc() -> None:
    port = free_port()
    with serving(*LOADED, "--workers", "2", "--grpc-port", str(port)) as served:
        served.line(lambda _: sum(map(is_ready, served.lines)) == 2)
        callers = Callers(served.port, images(8))
        with callers.calling(4), inferring(port, 8) as called:
            callers.wait_for(50)
            served.process.send_signal(signal.SIGTERM)
            told = monotonic()
            served.line(lambda _: sum(map(is_ending, served.lines)) == 2)
            readiness, _ = served.ask("/health/ready")
            assert served.end() == 0
            took = monotonic() - told
    assert readiness == 503
    assert took < GRACE_SECONDS
    workers = {line["pid"] for line in served.lines if "request_id" in line}
    assert len(workers) == 2
    for path, asked in (("certify", callers.asked), ("infer", called)):
        taken, missing = lost(served, path, asked)
        assert taken
        assert missing == {}
