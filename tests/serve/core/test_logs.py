"""Lines of the log: what is in them, and what never is."""

import json
import logging
import os
import sys
import warnings

import pytest

from goodcert.serve.core.logs import JsonLines, TextLines, configure, request_id, traceparent


def record(message, *arguments, exc_info=None, **fields):
    made = logging.LogRecord("goodcert.serve", logging.INFO, "/secret/path.py", 7, message, arguments, exc_info)
    made.created = 0.0
    if fields:
        made.fields = fields
    return made


def failure():
    try:
        raise OSError("secret: /models/tiny and key-1234")
    except OSError:
        return record("a request failed", exc_info=sys.exc_info())


def test_a_json_line_has_time_level_logger_and_message():
    assert json.loads(JsonLines().format(record("%d images", 3))) == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "level": "info",
        "logger": "goodcert.serve",
        "pid": os.getpid(),
        "message": "3 images",
    }


def test_fields_are_values_of_their_own():
    assert json.loads(JsonLines().format(record("request", status=200, seconds=0.25)))["status"] == 200
    assert TextLines().format(record("request", status=200)).endswith("goodcert.serve: request status=200")


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
def test_a_line_about_a_request_has_its_id(lines):
    token = request_id.set("abc-1")
    try:
        assert "abc-1" in lines.format(record("decoded"))
    finally:
        request_id.reset(token)
    assert "request_id" not in lines.format(record("decoded"))


def test_a_line_about_a_traced_request_has_the_id_of_its_trace():
    token = traceparent.set("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    try:
        line = json.loads(JsonLines().format(record("decoded")))
    finally:
        traceparent.reset(token)
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in json.loads(JsonLines().format(record("decoded")))


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
def test_an_error_is_named_by_type_and_places_without_its_text_or_a_path(lines):
    text = lines.format(failure())
    assert "OSError" in text
    assert f"{__name__}.failure:" in text
    assert "secret" not in text
    assert ".py" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
def test_a_line_stays_one_line_whatever_callers_send(lines):
    assert "\n" not in lines.format(record("request", path="/v1/\nmodels"))


def test_warnings_of_libraries_which_name_paths_are_not_written(capsys):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with warnings.catch_warnings():
            configure("text")
            warnings.warn("a decoder is unhappy", UserWarning, stacklevel=1)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("lines", [JsonLines(), TextLines()])
def test_of_a_start_that_failed_the_reason_is_told_without_the_traceback(lines):
    text = lines.format(
        record('Traceback (most recent call last):\n  File "/secret.py"\nSettingsError: no models\n')
    )
    assert "SettingsError: no models" in text
    assert "secret" not in text
