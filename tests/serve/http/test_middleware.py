"""What every request passes first."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from goodcert.serve.core.lifecycle import LifecyclePhase
from goodcert.serve.core.logs import JsonLines


class Heard(logging.Handler):
    """Keeps what was logged, as JSON."""

    def __init__(self):
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines = []

    def emit(self, record):
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def heard():
    handler = Heard()
    for name in ("goodcert.access", "goodcert.serve"):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("goodcert.access").setLevel(logging.INFO)
    yield handler
    for name in ("goodcert.access", "goodcert.serve"):
        logging.getLogger(name).removeHandler(handler)
    logging.getLogger("goodcert.access").setLevel(logging.NOTSET)


def identity(answer):
    return answer.headers["X-Request-Id"]


@pytest.mark.parametrize("sane", ["a", "7e0f0c1d-6a7b-4d1e", "1-67891233:abc/def+g=h@i_j.k", "x" * 128])
def test_a_sane_id_is_kept_and_answered(service, png, sane):
    assert identity(service.certify(png, headers={"X-Request-Id": sane})) == sane


@pytest.mark.parametrize("odd", ["", "two words", "x" * 129, "<script>", 'a"b', "é"])
def test_an_odd_id_is_replaced(service, png, odd):
    made = identity(service.certify(png, headers={"X-Request-Id": odd.encode("latin-1")}))
    assert made != odd
    assert made


def test_every_request_gets_an_id_of_its_own(service, png):
    made = [identity(service.certify(png)) for _ in range(5)]
    assert len(set(made)) == 5


@pytest.mark.parametrize("path", ["/nowhere", "/health/ready", "/metrics"])
def test_whatever_is_answered_has_an_id(service, path):
    assert identity(service.client.get(path))


def test_refusals_have_an_id(start, png):
    with start(api_keys=["key"]) as service:
        answer = service.certify(png)
        assert answer.status_code == 401
        assert identity(answer)


def test_without_the_setting_nothing_is_logged_of_a_request(service, png, heard):
    service.certify(png)
    assert heard.lines == []


def test_the_access_log_has_a_line_a_request_without_query_or_key(start, png, heard):
    with start(access_log=True, api_keys=["key"]) as service:
        answer = service.certify(png, params={"epsilon": "0.1"}, headers={"X-API-Key": "key"})
    (line,) = heard.lines
    assert line.pop("seconds") > 0
    assert line.pop("time")
    assert line.pop("pid")
    assert line == {
        "level": "info",
        "logger": "goodcert.access",
        "message": "request",
        "method": "POST",
        "path": "/v1/models/tiny/certify",
        "status": 200,
        "request_id": identity(answer),
    }


def test_an_unforeseen_failure_is_a_problem_with_an_id_and_a_line_in_the_log(service, heard):
    del service.app.state.service.repository._models
    answer = service.client.get("/v1/models/tiny")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "_models" not in answer.text
    (line,) = heard.lines
    assert (line["error"], line["request_id"]) == ("AttributeError", identity(answer))
    assert line["at"][-1].startswith("goodcert.serve.repository.repository.versions:")


class TestEnding:
    def test_readiness_says_so_while_requests_are_still_taken(self, service, png):
        service.lifecycle.phase = LifecyclePhase.LEAVING
        assert service.client.get("/health/ready").json()["code"] == "shutting_down"
        answer = service.certify(png)
        assert (answer.status_code, answer.headers["Connection"]) == (200, "close")

    def test_readiness_of_the_other_protocol_says_so_too(self, service):
        service.lifecycle.phase = LifecyclePhase.LEAVING
        assert service.client.get("/v2/health/ready").status_code == 503

    def test_then_requests_are_refused_and_their_connections_closed(self, service, png):
        service.lifecycle.phase = LifecyclePhase.REFUSING
        answer = service.certify(png)
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert (answer.headers["Connection"], answer.headers["Retry-After"]) == ("close", "5")
        assert service.engines[0].batches == []

    @pytest.mark.parametrize(("path", "status"), [("live", 200), ("started", 200), ("ready", 503)])
    def test_health_is_answered_to_the_end(self, service, path, status):
        service.lifecycle.phase = LifecyclePhase.REFUSING
        assert service.client.get(f"/health/{path}").status_code == status

    def test_requests_in_flight_are_counted(self, service, png):
        service.engines[0].gate.clear()
        with ThreadPoolExecutor(2) as callers:
            answers = [callers.submit(service.certify, png) for _ in range(2)]
            assert service.engines[0].entered.wait(30)
            assert service.lifecycle.in_flight >= 1
            service.engines[0].gate.set()
            assert [answer.result().status_code for answer in answers] == [200, 200]
        assert service.lifecycle.in_flight == 0
