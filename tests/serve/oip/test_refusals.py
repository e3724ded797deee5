"""Refusals under /v2 in the protocol's form, whoever refuses."""

import asyncio

import orjson
import pytest
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse

from goodcert.serve.admission.admission import Admission, BytesInFlight
from goodcert.serve.admission.keyring import Keyring
from goodcert.serve.core import errors
from goodcert.serve.core.lifecycle import Lifecycle, LifecyclePhase
from goodcert.serve.http.middleware import RequestMiddleware
from goodcert.serve.http.problems import Answers
from goodcert.serve.telemetry.metrics import Metrics


def raising(error):
    async def application(scope, receive, send):
        raise error

    return application


def ask(application, path="/v2/models", keys=(), phase=LifecyclePhase.SERVING):
    """Status, headers and body of what an application behind the middleware answers."""
    sent, lifecycle = [], Lifecycle()
    lifecycle.phase = phase

    async def send(message):
        sent.append(message)

    metrics = Metrics(CollectorRegistry())
    admission = Admission(Keyring(keys), BytesInFlight(10), 10, lifecycle, metrics, names=frozenset)
    middleware = RequestMiddleware(application, admission, Answers(metrics.count_problem))
    asyncio.run(middleware({"type": "http", "path": path, "method": "GET", "headers": []}, None, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body


def test_a_problem_keeps_its_status_and_headers_and_becomes_one_sentence():
    status, headers, body = ask(raising(errors.QueueFull(7)))
    assert (status, headers[b"retry-after"]) == (503, b"7")
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(body)).encode()
    assert orjson.loads(body) == {"error": "Too much is waiting; try again after Retry-After."}


@pytest.mark.parametrize("path", ["/v1/models", "/v22", "/", "/metrics"])
def test_elsewhere_a_problem_stays_one(path):
    assert orjson.loads(ask(raising(errors.QueueFull(7)), path)[2])["code"] == "queue_full"


@pytest.mark.parametrize(
    ("error", "status"), [(HTTPException(404), 404), (HTTPException(405), 405), (RuntimeError("secret"), 500)]
)
def test_so_does_what_is_no_error_of_ours(error, status):
    told, _, body = ask(raising(error))
    assert told == status
    assert list(orjson.loads(body)) == ["error"]
    assert "secret" not in body.decode()


def test_so_does_what_is_refused_before_the_application_is_asked():
    application = raising(AssertionError("nobody is let in"))
    assert ask(application, keys=["right"])[0] == 401
    assert ask(application, phase=LifecyclePhase.REFUSING)[0] == 503
    assert list(orjson.loads(ask(application, keys=["right"])[2])) == ["error"]


def test_a_refusal_by_the_protocol_itself_has_its_own_sentence():
    assert orjson.loads(ask(raising(errors.BadInference("mine")))[2]) == {"error": "mine"}


def test_answers_pass_as_they_are():
    assert ask(PlainTextResponse("fine"))[2] == b"fine"
    assert orjson.loads(ask(JSONResponse({"error": "mine"}, 400))[2]) == {"error": "mine"}
