"""The ledger of the service as it is started: what a client received is in it, whatever happens."""

import json
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import NamedTuple

import httpx
import numpy as np
import pytest
from joserfc.jwk import KeySet
from PIL import Image
from sqlalchemy import select

from goodcert.serve.ledger.audit import Audit, audit
from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.tables import certificates
from goodcert.serve.proof.signing import CERTIFICATE, create_key, key_set, verified
from postgres import Postgres, missing, postgres
from serving import CERTIFY, Served, serving

_PNG = {"Content-Type": "image/png"}
# So that a busy machine makes these tests slow, and nothing else.
FLAGS = ("--threads", "1", "--request-timeout-ms", "60000", "--ledger-url")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if reason := missing():
        pytest.skip(reason)
    with postgres() as running:
        yield running


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def new_ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """The URL of an empty database each time."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    database: Callable[[], str] = request.getfixturevalue("server").database
    return database


@pytest.fixture
def url(new_ledger: Callable[[], str]) -> str:
    return new_ledger()


class Pair(NamedTuple):
    """Two services that sign with the same keys and record in the ledger at `url`."""

    url: str
    first: Served
    second: Served


@pytest.fixture(scope="module")
def pair(new_ledger: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    url, keys = new_ledger(), tmp_path_factory.mktemp("keys")
    create_key(keys)
    options = (*FLAGS, url, "--signing-keys", str(keys))
    with serving(*options) as first, serving(*options) as second:
        yield Pair(url, first, second)


def audited(pair: Pair, keys: KeySet | None = None) -> Audit:
    with existing(pair.url).begin() as connection:
        return audit(connection, keys)


def address(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}"


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

    def __init__(self, served: Served, callers: int = 8) -> None:
        self.answers: list[bytes] = []
        self.refused: list[int] = []
        self._address, self._stop, self._image = address(served), threading.Event(), images()
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
                    answer = client.post(CERTIFY, content=self._image())
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
    with serving(*FLAGS, url) as served, Load(served) as load:
        load.wait_for(answers=200)
        served.process.send_signal(signal.SIGKILL)
        served.process.wait()
    with existing(url).begin() as connection:
        found = audit(connection, None)
    missing = len(set(load.answers) - recorded(url))
    record_property("found", f"8 callers, {len(load.answers)} certificates received, {missing} of them missing")
    assert found.faults == []
    assert found.last >= len(load.answers) >= 200
    assert set(load.answers) <= recorded(url)


def test_two_services_share_one_chain(pair: Pair) -> None:
    keys = key_set(httpx.get(f"{address(pair.first)}/v1/keys").content)
    before = audited(pair, keys)
    with Load(pair.first, 4) as one, Load(pair.second, 4) as two:
        one.wait_for(answers=40)
        two.wait_for(answers=40)
    identity = json.loads(two.answers[0])["id"]
    there = f"{address(pair.first)}/v1/certificates/{identity}"
    told = httpx.get(there, headers={"Accept": "application/jose"}).text
    assert verified(told, keys, CERTIFICATE) == two.answers[0]
    after = audited(pair, keys)
    assert (after.last - before.last, after.faults) == (len(one.answers + two.answers), [])


def test_one_idempotency_key_at_two_services_at_once_makes_one_certificate(pair: Pair) -> None:
    before, image, headers = audited(pair), images()(), _PNG | {"Idempotency-Key": "once"}
    with ThreadPoolExecutor(16) as callers:
        asked = [
            callers.submit(httpx.post, at + CERTIFY, content=image, headers=headers, timeout=60)
            for at in [address(pair.first), address(pair.second)] * 8
        ]
        answers = [each.result() for each in asked]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    after = audited(pair)
    assert (after.first, after.last) == (1, before.last + 1)


def test_without_its_database_the_service_refuses_and_goes_on_when_it_is_back(
    server: Postgres, record_property: Callable[[str, object], None]
) -> None:
    url = server.database()
    with serving(*FLAGS, url) as served:
        with Load(served) as load:
            load.wait_for(answers=50)
            server.stop()
            try:
                load.wait_for(refused=20)
            finally:
                server.start()
            load.wait_for(answers=len(load.answers) + 50)
        refused = httpx.get(f"{address(served)}/health/ready").status_code
    told = f"8 callers, {len(load.answers)} certificates received, {len(load.refused)} refused"
    record_property("found", f"{told}, {len(set(load.answers) - recorded(url))} missing")
    assert refused == 200
    assert set(load.answers) <= recorded(url)


def test_without_its_database_the_service_serves_and_counts_where_that_is_wanted(server: Postgres) -> None:
    url = server.database()
    with serving(*FLAGS, url, "--ledger-on-failure", "serve") as served:
        with Load(served) as load:
            load.wait_for(answers=50)
            server.stop()
            try:
                load.wait_for(answers=len(load.answers) + 100)
            finally:
                server.start()
            load.wait_for(answers=len(load.answers) + 50)
        metrics = httpx.get(f"{address(served)}/metrics").text
    counted = {
        name: float(re.search(rf"^goodcert_ledger_{name}_total (\S+)$", metrics, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("recorded", "lost")
    }
    assert load.refused == []
    assert counted["lost"] > 0
    assert counted["recorded"] + counted["lost"] == len(load.answers)


def test_a_service_that_may_not_answer_without_its_ledger_does_not_start_without_it() -> None:
    with serving(*FLAGS, "postgresql://goodcert:secret@127.0.0.1:9/none") as served:
        assert served.end() != 0
    assert "secret" not in str(served.lines)
