"""The ledger of the service as it is started: what a client received is in it, whatever happens."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select

from goodcert.serve.ledger.audit import audit
from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.tables import certificates
from goodcert.serve.proof.signing import CERTIFICATE, create_key, key_set, verified
from postgres import Postgres, missing, postgres

PATH = "/v1/models/mnist-good100/versions/1/certify"
_PNG = {"Content-Type": "image/png"}
# So that a busy machine makes these tests slow, and nothing else.
_PATIENT = ("--threads", "1", "--request-timeout-ms", "60000")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if reason := missing():
        pytest.skip(reason)
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("server").database())


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a service of its own, and its process."""
    command = [sys.executable, "-m", "goodcert.cli.main", "serve", "--port", "0", *_PATIENT, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        watchdog = threading.Timer(300, service.kill)
        watchdog.start()
        try:
            assert service.stderr
            address = next(a[0] for line in service.stderr if (a := re.search(r"http://127\.0\.0\.1:\d+", line)))
            drain = threading.Thread(target=service.stderr.read)  # so that a talkative service never blocks
            drain.start()
            yield address, service
            service.kill()
            drain.join()
        finally:
            watchdog.cancel()
            service.kill()


def images() -> Callable[[], bytes]:
    random, lock = np.random.default_rng(3), threading.Lock()

    def make() -> bytes:
        buffer = BytesIO()
        with lock:
            pixels = random.integers(0, 256, (28, 28), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return make


class Load:
    """Callers who ask until the service is gone, or told to stop; `answers` is what they received with 200."""

    def __init__(self, address: str, callers: int = 8) -> None:
        self.answers: list[bytes] = []
        self.refused: list[int] = []
        self._address, self._stop, self._image = address, threading.Event(), images()
        self._grown = threading.Condition()
        self._threads = [threading.Thread(target=self._ask) for _ in range(callers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, answers: int = 0, refused: int = 0) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: len(self.answers) >= answers and len(self.refused) >= refused, 120)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._address, headers=_PNG, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(PATH, content=self._image())
                except httpx.HTTPError:
                    return
                with self._grown:
                    if answer.status_code == 200:
                        self.answers.append(answer.content)
                    else:
                        assert answer.json()["code"] == "ledger_unavailable"
                        self.refused.append(answer.status_code)
                    self._grown.notify_all()


def recorded(url: str) -> set[bytes]:
    with existing(url).begin() as connection:
        return set(connection.execute(select(certificates.c.body)).scalars())


def test_after_kill_9_under_load_every_certificate_that_a_client_received_is_there(
    url: str, record_property: Callable[[str, object], None]
) -> None:
    with serving("--ledger-url", url) as (address, service), Load(address) as load:
        load.wait_for(answers=200)
        service.send_signal(signal.SIGKILL)
        service.wait()
    with existing(url).begin() as connection:
        found = audit(connection, None)
    missing = len(set(load.answers) - recorded(url))
    record_property("found", f"8 callers, {len(load.answers)} certificates received, {missing} of them missing")
    assert found.faults == []
    assert found.last >= len(load.answers) >= 200
    assert set(load.answers) <= recorded(url)


def test_two_services_share_one_chain(url: str, tmp_path: Path) -> None:
    create_key(tmp_path / "keys")
    options = ("--ledger-url", url, "--signing-keys", str(tmp_path / "keys"))
    with serving(*options) as (first, _), serving(*options) as (second, _):
        with Load(first, 4) as one, Load(second, 4) as two:
            one.wait_for(answers=40)
            two.wait_for(answers=40)
        answers = one.answers + two.answers
        keys = httpx.get(f"{first}/v1/keys").content
        identity = json.loads(two.answers[0])["id"]
        told = httpx.get(f"{first}/v1/certificates/{identity}", headers={"Accept": "application/jose"}).text
        assert verified(told, key_set(keys), CERTIFICATE) == two.answers[0]
    with existing(url).begin() as connection:
        assert audit(connection, key_set(keys))[1:] == (len(answers), audit(connection, None).checkpoints, [])


def test_one_idempotency_key_at_two_services_at_once_makes_one_certificate(url: str) -> None:
    with serving("--ledger-url", url) as (first, _), serving("--ledger-url", url) as (second, _):
        image, headers = images()(), _PNG | {"Idempotency-Key": "once"}
        with ThreadPoolExecutor(16) as callers:
            asked = [
                callers.submit(httpx.post, address + PATH, content=image, headers=headers, timeout=60)
                for address in [first, second] * 8
            ]
            answers = [each.result() for each in asked]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
    with existing(url).begin() as connection:
        assert audit(connection, None)[:2] == (1, 1)


def test_without_its_database_the_service_refuses_and_goes_on_when_it_is_back(
    server: Postgres, record_property: Callable[[str, object], None]
) -> None:
    url = server.database()
    with serving("--ledger-url", url) as (address, _):
        with Load(address) as load:
            load.wait_for(answers=50)
            server.stop()
            try:
                load.wait_for(refused=20)
            finally:
                server.start()
            load.wait_for(answers=len(load.answers) + 50)
        refused = httpx.get(f"{address}/health/ready").status_code
    told = f"8 callers, {len(load.answers)} certificates received, {len(load.refused)} refused"
    record_property("found", f"{told}, {len(set(load.answers) - recorded(url))} missing")
    assert refused == 200
    assert set(load.answers) <= recorded(url)


def test_without_its_database_the_service_serves_and_counts_where_that_is_wanted(server: Postgres) -> None:
    url = server.database()
    with serving("--ledger-url", url, "--ledger-on-failure", "serve") as (address, _):
        with Load(address) as load:
            load.wait_for(answers=50)
            server.stop()
            try:
                load.wait_for(answers=len(load.answers) + 100)
            finally:
                server.start()
            load.wait_for(answers=len(load.answers) + 50)
        metrics = httpx.get(f"{address}/metrics").text
    counted = {
        name: float(re.search(rf"^goodcert_ledger_{name}_total (\S+)$", metrics, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("recorded", "lost")
    }
    assert load.refused == []
    assert counted["lost"] > 0
    assert counted["recorded"] + counted["lost"] == len(load.answers)


def test_a_service_that_may_not_answer_without_its_ledger_does_not_start_without_it() -> None:
    command = [sys.executable, "-m", "goodcert.cli.main", "serve", "--port", "0"]
    url = "postgresql://goodcert:secret@127.0.0.1:9/none"
    started = subprocess.run(
        [*command, "--ledger-url", url], capture_output=True, text=True, check=False, timeout=120
    )
    assert started.returncode != 0
    assert "secret" not in started.stderr + started.stdout
