"""Errors on the wire: every class that is raised has a code, codes are unique, nothing leaks."""

import orjson
import pytest
from starlette.exceptions import HTTPException

from goodcert.images.errors import CodedError, NotAnImage, SeveralFrames, WrongSize
from goodcert.serve.core import errors
from goodcert.serve.http.problems import (
    FRAMEWORK,
    INTERNAL_ERROR,
    NOT_FOUND,
    PROBLEMS,
    STATUS,
    Answers,
    Problem,
    problem_of,
    table_markdown,
    tree_markdown,
)

CLASSES = [cls for _, cls in errors.family()]
FAMILIES = [cls for cls in CLASSES if any(other.__base__ is cls for other in CLASSES)]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if cls not in FAMILIES])
def test_every_error_that_is_raised_has_a_code_a_title_and_a_detail_of_its_own(cls):
    assert {"code", "title", "detail"} <= vars(cls).keys()


@pytest.mark.parametrize("cls", FAMILIES)
def test_a_family_that_is_raised_by_mistake_is_an_internal_error(cls):
    assert problem_of(cls.__new__(cls)) == INTERNAL_ERROR


def test_codes_are_unique():
    codes = [problem.code for problem in PROBLEMS]
    assert len(codes) == len(set(codes))


def test_the_status_is_that_of_the_class_or_of_its_family():
    assert problem_of(errors.BadEpsilon()).status == STATUS[errors.QueryRefused] == 422
    assert problem_of(errors.UnknownModel()).status == STATUS[errors.UnknownModel] == 404
    assert problem_of(errors.EngineFailed()).status == STATUS[CodedError] == 500


def test_a_class_tells_its_own_code_and_texts():
    told = Problem(415, "several_frames", SeveralFrames.title, SeveralFrames.detail)
    assert problem_of(SeveralFrames()) == told


def test_a_subclass_is_answered_like_its_ancestor():
    class Special(WrongSize):
        pass

    assert problem_of(Special()) == problem_of(WrongSize())
    assert Special not in [cls for _, cls in errors.family()]


def test_anything_else_is_an_internal_error():
    assert problem_of(ZeroDivisionError("secret")) == INTERNAL_ERROR


def test_the_frameworks_own_errors_have_problems():
    assert problem_of(HTTPException(404)) is NOT_FOUND
    assert problem_of(HTTPException(418)).status == 400
    assert problem_of(HTTPException(502)).status == 500


def test_the_text_of_an_exception_never_reaches_the_wire():
    counted = []
    response = Answers(counted.append).response(NotAnImage("secret"))
    assert (response.status_code, response.media_type) == (415, "application/problem+json")
    assert b"secret" not in response.body
    assert orjson.loads(response.body)["code"] == "not_an_image"
    assert counted == ["not_an_image"]


def test_overload_says_when_to_come_back():
    response = Answers(lambda _: None).response(errors.QueueFull(7))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "7")


def test_the_table_has_every_code():
    table = table_markdown()
    assert {*FRAMEWORK, INTERNAL_ERROR} < set(PROBLEMS)
    for problem in PROBLEMS:
        assert f"| `{problem.code}` | {problem.status} |" in table


def test_the_tree_shows_every_class_below_its_family():
    lines = tree_markdown().splitlines()[1:-1]
    assert [line.strip().partition(":")[0] for line in lines] == [cls.__name__ for cls in CLASSES]
    assert lines[:3] == ["CodedError: internal_error", "    ImageRefused", "        NotAnImage: not_an_image"]
