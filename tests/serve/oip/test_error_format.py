"""Refusals under /v2 in the protocol's form, whoever refuses."""

import asyncio

import orjson
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from goodcert.serve.core import errors
from goodcert.serve.http.problems import Answers
from goodcert.serve.oip.error_format import ErrorFormat


def ask(application, path="/v2/models"):
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(ErrorFormat(application)({"type": "http", "path": path, "method": "GET"}, None, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], dict(sent[0]["headers"]), body


def problem():
    return Answers(lambda _: None).response(errors.QueueFull(7))


def test_a_problem_keeps_its_status_and_headers_and_becomes_one_sentence():
    status, headers, body = ask(problem())
    assert (status, headers[b"retry-after"]) == (503, b"7")
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == str(len(body)).encode()
    assert orjson.loads(body) == {"error": "Too much is waiting; try again after Retry-After."}


@pytest.mark.parametrize("path", ["/v1/models", "/v22", "/", "/metrics"])
def test_elsewhere_a_problem_stays_one(path):
    assert orjson.loads(ask(problem(), path)[2])["code"] == "queue_full"


def test_other_refusals_become_the_phrase_of_their_status():
    assert orjson.loads(ask(PlainTextResponse("x", 404))[2]) == {"error": "Not Found"}
    assert orjson.loads(ask(Response(status_code=500))[2]) == {"error": "Internal Server Error"}


def test_a_refusal_in_pieces_is_translated_once():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})

    assert orjson.loads(ask(application)[2]) == {"error": "Bad Request"}


def test_what_has_the_form_already_passes():
    assert orjson.loads(ask(JSONResponse({"error": "mine"}, 400))[2]) == {"error": "mine"}


def test_answers_pass_as_they_are():
    assert ask(PlainTextResponse("fine"))[2] == b"fine"
