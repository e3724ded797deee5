"""The query of a certify request, and how long it may take."""

import pytest

from goodcert.serve.core.errors import (
    BadEpsilon,
    BadRadius,
    BadTimeout,
    MethodNotOffered,
    RepeatedParameter,
    UnknownParameter,
)
from goodcert.serve.http.params import parse_query, parse_timeout, timeout_seconds


def test_the_default_is_the_models():
    question = parse_query([], "0.3")
    assert question.radius.told == 0.3
    assert question.method == "ibp"
    assert not question.search


def test_a_given_epsilon_is_certified_rounded_up_and_told_as_given():
    radius = parse_query([("epsilon", "0.3"), ("method", "ibp")], "0.1").radius
    assert radius.told == 0.3
    assert radius.certified == 0.30000000000000004  # the float64 nearest to 0.3 lies below it


@pytest.mark.parametrize("text", ["0", "1", "1.0", ".5", "0.", "00.10"])
def test_plain_decimals_from_zero_to_one_are_taken(text):
    assert 0 <= parse_query([("epsilon", text)], "0.1").radius.certified <= 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nan",
        "inf",
        "-0.1",
        "+0.1",
        "1.1",
        "2",
        "0,3",
        "1e-3",
        " 0.3",
        "0_1",
        "\u0660.\u0663",
        "0.3" + "0" * 99,
        "1/3",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(BadEpsilon):
        parse_query([("epsilon", text)], "0.1")


def test_a_repeated_parameter_is_refused_even_if_both_agree():
    with pytest.raises(RepeatedParameter):
        parse_query([("epsilon", "0.1"), ("epsilon", "0.1")], "0.1")


@pytest.mark.parametrize("name", ["eps", "Epsilon", "radii", ""])
def test_an_unknown_parameter_is_refused(name):
    with pytest.raises(UnknownParameter):
        parse_query([(name, "0.1")], "0.1")


@pytest.mark.parametrize("method", ["ibp", "crown", "auto"])
def test_the_methods_are_taken(method):
    assert parse_query([("method", method)], "0.1").method == method


def test_the_certified_radius_is_searched_when_asked_for():
    assert parse_query([("radius", "true")], "0.1").search
    assert not parse_query([("radius", "false")], "0.1").search


@pytest.mark.parametrize("text", ["", "True", "1", "yes", "0.3"])
def test_a_radius_that_is_neither_true_nor_false_is_refused(text):
    with pytest.raises(BadRadius):
        parse_query([("radius", text)], "0.1")


@pytest.mark.parametrize("method", ["alpha-crown", "IBP", ""])
def test_other_methods_are_refused(method):
    with pytest.raises(MethodNotOffered):
        parse_query([("method", method)], "0.1")


def test_without_a_header_the_service_decides():
    assert parse_timeout(None, 10_000) == 10


def test_a_caller_gets_the_time_it_asks_for():
    assert parse_timeout(b"250", 10_000) == 0.25


def test_nobody_gets_more_than_the_service_allows():
    assert parse_timeout(b"999999999", 10_000) == 10
    assert timeout_seconds(1e300, 500) == 0.5


def test_a_fraction_of_a_millisecond_can_be_asked_for_by_other_protocols():
    assert timeout_seconds(0.5, 10_000) == 0.0005


@pytest.mark.parametrize("text", [b"", b"0", b"-1", b"1.5", b"1e3", b"1_0", b" 5", b"soon", b"1" * 10, b"\xb2"])
def test_anything_but_a_positive_whole_number_is_refused(text):
    with pytest.raises(BadTimeout):
        parse_timeout(text, 10_000)


@pytest.mark.parametrize("asked", [0, -1, float("nan")])
def test_a_time_that_is_not_positive_is_refused(asked):
    with pytest.raises(BadTimeout):
        timeout_seconds(asked, 10_000)
