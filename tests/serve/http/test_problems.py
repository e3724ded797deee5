"""Errors on the wire: every class has a row, codes are unique, nothing leaks."""

import inspect
import re

import orjson
import pytest
from starlette.exceptions import HTTPException

from goodcert.serve.core import errors
from goodcert.serve.http.problems import (
    FRAMEWORK,
    INTERNAL_ERROR,
    NOT_FOUND,
    TABLE,
    Answers,
    problem_of,
    table_markdown,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.ServeError)]
LEAVES = [cls for cls in CLASSES if not cls.__subclasses__()]


@pytest.mark.parametrize("cls", LEAVES)
def test_every_error_that_is_raised_has_a_row(cls):
    assert cls in TABLE


def test_the_picture_of_the_family_shows_every_class():
    shown = re.findall(r"^(?:[│├└─ ]*)(\w+)$", errors.__doc__, re.MULTILINE)
    assert sorted(shown) == sorted(cls.__name__ for cls in CLASSES)


def test_codes_are_unique():
    codes = [problem.code for problem in (*TABLE.values(), *FRAMEWORK)]
    assert len(codes) == len(set(codes))


def test_a_subclass_is_answered_like_its_ancestor():
    class Special(errors.WrongSize):
        pass

    assert problem_of(Special()) is TABLE[errors.WrongSize]


def test_anything_else_is_an_internal_error():
    assert problem_of(ZeroDivisionError("secret")) is INTERNAL_ERROR


def test_the_frameworks_own_errors_have_rows():
    assert problem_of(HTTPException(404)) is NOT_FOUND
    assert problem_of(HTTPException(418)).status == 400
    assert problem_of(HTTPException(502)).status == 500


def test_the_text_of_an_exception_never_reaches_the_wire():
    counted = []
    response = Answers(counted.append).response(errors.NotAnImage("secret"))
    assert (response.status_code, response.media_type) == (415, "application/problem+json")
    assert b"secret" not in response.body
    assert orjson.loads(response.body)["code"] == "not_an_image"
    assert counted == ["not_an_image"]


def test_overload_says_when_to_come_back():
    response = Answers(lambda _: None).response(errors.QueueFull(7))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")


def test_the_table_has_every_code():
    table = table_markdown()
    for problem in (*TABLE.values(), *FRAMEWORK):
        assert f"| `{problem.code}` | {problem.status} |" in table
