"""Callers learn what went wrong by class, and programs by code."""

import pickle

import pytest

from goodcert.client import errors
from goodcert.client.errors import PartError, service_error


def _drawn() -> list[str]:
    """The names of the hierarchy in the order and depth in which the module's docstring draws it."""
    lines = (errors.__doc__ or "").splitlines()
    return [line[: len(line) - len(line.lstrip())] + line.split()[0] for line in lines if line.startswith("    ")]


def _defined(kind: type, depth: int = 1) -> list[str]:
    inner = [name for child in kind.__subclasses__() for name in _defined(child, depth + 1)]
    return ["    " * depth + kind.__name__, *inner]


def test_the_picture_shows_the_hierarchy_as_it_is():
    assert _drawn() == _defined(errors.GoodcertError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest),
        (401, errors.Denied),
        (403, errors.Denied),
        (404, errors.NotFound),
        (413, errors.TooLarge),
        (415, errors.UnreadableImage),
        (422, errors.InvalidValue),
        (429, errors.Overloaded),
        (503, errors.Overloaded),
        (504, errors.DeadlinePassed),
        (500, errors.ServiceError),
        (302, errors.ServiceError),
    ],
)
def test_the_status_chooses_the_class(status: int, kind: type):
    assert type(service_error(status, {}, "reason", None)) is kind


def test_an_error_tells_what_the_problem_document_says():
    document = {
        "type": "about:blank",
        "title": "No model",
        "status": 404,
        "detail": "Try m.",
        "code": "unknown_model",
    }
    error = service_error(404, document, "Not Found", 2.0)
    assert (error.code, error.status, error.title, error.detail) == ("unknown_model", 404, "No model", "Try m.")
    assert error.retry_after == 2.0
    assert str(error) == "404 unknown_model: No model: Try m."


@pytest.mark.parametrize("document", [None, [], "text", 3, {}, {"code": None, "title": 0, "status": "x"}])
def test_an_answer_without_a_problem_document_is_told_by_its_status(document: object):
    error = service_error(502, document, "Bad Gateway", None)
    assert (error.code, error.status, str(error)) == ("unknown", 502, "502 unknown: Bad Gateway")


def test_the_status_line_wins_over_the_document():
    assert service_error(503, {"status": 200}, "", None).status == 503


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(errors.Overloaded("queue_full", 503, "Full", "Later.", 1.5)))  # noqa: S301
    assert type(error) is errors.Overloaded
    assert (error.code, error.retry_after, str(error)) == ("queue_full", 1.5, "503 queue_full: Full: Later.")


def test_a_part_error_is_a_value_and_never_raised():
    assert not issubclass(PartError, BaseException)


@pytest.mark.parametrize("document", [None, [], "text", {"status": True}, {"status": "415"}])
def test_a_part_error_is_made_of_whatever_came(document: object):
    assert PartError.from_json(document) == PartError(code="unknown", status=0, title="")
