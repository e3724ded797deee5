"""Several workers are one service: to who asks, to who counts, and when one of them is killed."""

import json
import os
import re
import signal
import ssl
import time
from collections.abc import Callable
from itertools import count, islice
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import tritonclient.grpc as triton

import miniature
from goodcert.artifact import write
from graphs import onnx_model
from pem import certify
from prometheus import free_port
from serving import Callers, Served, images, is_ready, processor_seconds, said, serving

WITHIN_SECONDS = 3


def ready_workers(served: Served) -> list[int]:
    return [line["pid"] for line in served.lines if is_ready(line)]


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


REACHED = 500


def by_each(served: Served, ask: Callable[[str], Any]) -> list[Any]:
    """What is answered to `ask`, which is given a request id, until every worker that lives has answered."""
    answers, missing = [], set(ready_workers(served)) - killed(served)
    for number in islice(count(len(served.lines)), REACHED):
        identity = f"each-{number}"
        answers.append(ask(identity))
        missing -= {served.line(lambda line, own=identity: line.get("request_id") == own)["pid"]}
        if not missing:
            return answers
    raise AssertionError(f"{missing} never answered")


def killed(served: Served) -> set[int]:
    ended = (re.match(r"worker (\d+) ended", line["message"]) for line in served.lines)
    return {int(found[1]) for found in ended if found}


def versions(served: Served) -> set[tuple[str, ...]]:
    """The served versions, as the workers tell them: one entry where they agree."""

    def told(identity: str) -> Any:
        return json.loads(served.ask("/v1/models", **{"X-Request-Id": identity})[1])["models"]

    return {
        tuple(sorted(m["version"] for m in models if m["state"] == "ready")) for models in by_each(served, told)
    }


def put(root: Path, version: str) -> None:
    """A linear model, which is loaded in a moment."""
    layers = [("Flatten", ["x"], "f", {}), ("Gemm", ["f", "w"], "y", {})]
    graph = onnx_model(layers, {"w": np.eye(64, 3, dtype=np.float32)}, ["N", 1, 8, 8])
    write(graph, miniature.metadata(), root / "tiny" / version / "model.onnx")


def test_a_model_loaded_or_unloaded_on_request_is_so_in_every_worker_and_its_successor(tmp_path: Path) -> None:
    put(tmp_path, "1")
    flags = ["--workers", "2", "--threads", "1", "--access-log", "true"]
    with serving(*flags, "--models", str(tmp_path), "--model-admin", "true") as served:
        served.line(lambda _: len(ready_workers(served)) == 2)

        def change(verb: str) -> None:
            address = f"http://127.0.0.1:{served.port}/v2/repository/models/tiny/{verb}"
            assert httpx.post(address, timeout=120).status_code == 200

        assert versions(served) == {("1",)}
        put(tmp_path, "2")
        change("load")
        assert versions(served) == {("1", "2")}
        change("unload")
        assert versions(served) == {()}
        before = ready_workers(served)
        os.kill(before[0], signal.SIGKILL)
        served.line(lambda line: is_ready(line) and line["pid"] not in before)
        assert versions(served) == {()}
        change("load")
        assert versions(served) == {("1", "2")}


def test_every_worker_speaks_tls_over_http_and_grpc(tmp_path: Path) -> None:
    files = certify(tmp_path / "tls")
    port, trusting = free_port(), ssl.create_default_context(cafile=files["tls_certificate"])
    flags = ["--workers", "2", "--threads", "1", "--access-log", "true", "--grpc-port", str(port)]
    pems = [f"--{name.replace('_', '-')}={path}" for name, path in files.items()]

    def by_http(identity: str) -> object:
        address = f"https://127.0.0.1:{served.port}/v2/health/ready"
        return httpx.get(address, verify=trusting, headers={"X-Request-Id": identity}).json()

    def by_grpc(identity: str) -> object:
        credentials = grpc.ssl_channel_credentials(files["tls_certificate"].read_bytes())
        own = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own, which may reach the other worker
        address = f"127.0.0.1:{port}"
        with triton.InferenceServerClient(address, ssl=True, creds=credentials, channel_args=own) as client:
            return client.is_model_ready("mnist-good100", headers={"x-request-id": identity})

    with serving(*flags, *pems) as served:
        served.line(lambda _: len(ready_workers(served)) == 2)
        assert all(answer == {"ready": True} for answer in by_each(served, by_http))
        assert all(answer is True for answer in by_each(served, by_grpc))
