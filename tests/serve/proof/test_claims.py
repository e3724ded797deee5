"""The tables of claims: what is refused by name, and that they are the claims that are made."""

import copy
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from goodcert.serve.core.verdict import Verdict
from goodcert.serve.http.schemas import CertificateBody
from goodcert.serve.proof.claims import FORMATS, NEWEST, Claim, ClaimsRefused, UnknownFormat, read
from goodcert.serve.proof.contradictions import CLOCKS_DIFFER, contradictions
from goodcert.serve.repository import files

NOW = datetime(2026, 2, 1, tzinfo=UTC)
GOOD = {
    "format": 2,
    "id": "0" * 32,
    "model": {"name": "tiny", "version": "1", "sha256": "a" * 64},
    "image": {"sha256": "b" * 64, "format": "PNG", "width": 6, "height": 4},
    "epsilon": 0.3, "norm": "linf", "scope": "upload", "method": "ibp",
    "prediction": {"index": 0, "label": "a"},
    "confidence": 0.5, "confidence_upper_bound": 0.75, "confidence_lower_bound": 0.25,
    "possible_labels": ["a", "b"], "threshold": 0.7, "verdict": "out_of_distribution", "certified_radius": 0.1,
    "issued_at": "2026-01-31T12:00:00.000000Z",
    "engine": {"version": "1", "device": "cpu"},
}  # fmt: skip


def signed(body):
    return json.dumps(body).encode()


def changed(place, value):
    body = copy.deepcopy(GOOD)
    *parents, name = place.split(".")
    inner = body
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    return body


def first(body):
    return {name: value for name, value in body.items() if name != "format"}


def names(document):
    return {n: names(value) if isinstance(value, dict) else None for n, value in document.items()}


def tabled(table):
    return {name: None if isinstance(claim, Claim) else tabled(claim) for name, claim in table.items()}


def test_what_is_well_formed_is_read_in_every_format():
    assert read(signed(GOOD)) == GOOD
    assert read(signed(first(GOOD))) == first(GOOD)


def test_the_newest_table_has_the_claims_that_the_service_makes():
    assert tabled(FORMATS[NEWEST]) == names(GOOD)
    assert names(CertificateBody.model_validate(GOOD).model_dump()) == names(GOOD)


def test_the_first_format_is_the_second_one_without_a_number():
    assert {"format": None} | tabled(FORMATS[1]) == tabled(FORMATS[2])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("format", "2"), ("format", True), ("format", 2.0), ("format", None), ("format", 0), ("format", -1),
        ("id", "x"), ("id", "A" * 32), ("id", 7),
        ("model", []), ("model.name", "Tiny"), ("model.name", ""), ("model.version", "01"), ("model.version", 1),
        ("model.sha256", "a" * 63), ("model.sha256", "A" * 64), ("image.sha256", "g" * 64), ("image.sha256", None),
        ("image.format", "GIF"), ("image.width", 0), ("image.width", 6.0), ("image.height", True),
        ("epsilon", "0.3"), ("epsilon", -0.1), ("epsilon", 1.1), ("epsilon", None), ("epsilon", True),
        ("epsilon", 10**400),
        ("norm", "l2"), ("scope", "pixels"), ("method", "auto"), ("method", ["ibp"]),
        ("prediction.index", -1), ("prediction.index", 0.0), ("prediction.label", 0),
        ("prediction.label", "\ud800"),
        ("confidence", 0), ("confidence", "0.5"), ("confidence_upper_bound", 1.5), ("confidence_lower_bound", -1),
        ("possible_labels", []), ("possible_labels", ["a", "a"]), ("possible_labels", "a"),
        ("possible_labels", ["a", 1]), ("possible_labels", [["a"]]), ("possible_labels", [{}]),
        ("threshold", 0), ("threshold", 1), ("verdict", "fine"), ("verdict", None),
        ("certified_radius", "0.1"), ("certified_radius", 2), ("certified_radius", False),
        ("issued_at", "yesterday"), ("issued_at", "2026-01-31"), ("issued_at", "2026-01-31T12:00:00Z"),
        ("issued_at", "2026-01-31T13:00:00.000000+01:00"), ("issued_at", "2026-02-30T12:00:00.000000Z"),
        ("issued_at", 1),
        ("engine.version", ""), ("engine.version", "\x1b[2J"), ("engine.version", 1), ("engine.device", "tpu"),
    ],
)  # fmt: skip
def test_a_claim_of_another_type_or_range_is_refused_by_its_name(place, value):
    with pytest.raises(ClaimsRefused, match=f"^{place}: stated ") as refused:
        read(signed(changed(place, value)))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_number_for_is_refused(value):
    with pytest.raises(ClaimsRefused, match="no number of JSON"):
        read(signed(GOOD | {"epsilon": value}))


@pytest.mark.parametrize("place", ["estimate", "model.owner", "image.depth", "prediction.rank", "engine.vendor"])
@pytest.mark.parametrize("number", FORMATS)
def test_a_claim_that_the_format_does_not_have_is_refused_by_its_name(place, number):
    body = changed(place, 1) if number > 1 else first(changed(place, 1))
    with pytest.raises(ClaimsRefused, match=f"^{place}: unknown to format {number}$"):
        read(signed(body))


def test_a_claim_of_a_later_format_is_unknown_to_the_first_one():
    with pytest.raises(ClaimsRefused, match=r"^format: unknown to format 1$"):
        read(signed(GOOD | {"format": 1}))


@pytest.mark.parametrize("name", [name for name in GOOD if name != "format"])
def test_a_claim_that_is_left_out_is_named(name):
    with pytest.raises(ClaimsRefused, match=f"^{name}: missing$"):
        read(signed({key: value for key, value in GOOD.items() if key != name}))


def test_every_claim_at_fault_is_named_at_once():
    with pytest.raises(ClaimsRefused, match=r"^epsilon: .*; scope: .*"):
        read(signed(GOOD | {"epsilon": "0.3", "scope": ""}))


def test_a_format_that_is_not_known_yet_is_not_refuted():
    with pytest.raises(UnknownFormat, match=f"format {NEWEST + 1}, this version knows 1 to {NEWEST}"):
        read(signed(GOOD | {"format": NEWEST + 1, "what": "ever"}))


@pytest.mark.parametrize("name", ["epsilon", "format"])
def test_a_claim_that_is_stated_twice_is_refused_although_the_last_one_is_good(name):
    text = signed(GOOD).replace(b"{", f'{{"{name}": 2, '.encode(), 1)
    with pytest.raises(ClaimsRefused, match=f"'{name}': stated twice"):
        read(text)


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"null", b"{", b"\xff", b'{"a": 1e', b"[" * 10**5, json.dumps(GOOD).encode("utf-16")]
)
def test_what_is_no_object_in_json_is_refused(payload):
    with pytest.raises(ClaimsRefused, match="no JSON"):
        read(payload)


def test_nothing_in_a_good_certificate_contradicts_itself():
    assert list(contradictions(GOOD, NOW)) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"confidence": 0.8, "verdict": "in_distribution", "certified_radius": None}, "confidence: stated 0.8"),
        ({"confidence": 0.2}, "confidence: stated 0.2"),
        ({"possible_labels": ["b"]}, "possible_labels: stated without 'a'"),
        ({"verdict": "in_distribution"}, "verdict: stated in_distribution, but its own numbers give out_of_"),
        ({"verdict": "out_of_distribution_certified"}, "verdict: stated"),
        ({"threshold": 0.75}, "verdict: stated out_of_distribution, but .* out_of_distribution_certified"),
        (
            {"confidence": 0.75, "verdict": "in_distribution"},
            "certified_radius: stated 0.1, but the confidence is above the threshold",
        ),
        (
            {"threshold": 0.75, "verdict": "out_of_distribution_certified"},
            "certified_radius: stated 0.1, but epsilon, 0.3, is certified",
        ),
        (
            {"certified_radius": 0.4},
            "certified_radius: stated 0.4, but epsilon, 0.3, is smaller and not certified",
        ),
    ],
)
def test_what_contradicts_itself_is_named(changes, named):
    (fault, *_) = contradictions(GOOD | changes, NOW)
    assert re.match(named, fault)


def test_the_radius_that_was_asked_about_may_be_the_largest_one():
    certified = {"threshold": 0.75, "verdict": "out_of_distribution_certified"}
    for radius in (0.3, 0.5, None):
        assert list(contradictions(GOOD | certified | {"certified_radius": radius}, NOW)) == []


def test_a_clock_may_be_ahead_by_minutes_and_not_by_more():
    for ahead, faults in ((CLOCKS_DIFFER, 0), (CLOCKS_DIFFER + timedelta(seconds=1), 1)):
        issued = (NOW + ahead).isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert len([*contradictions(GOOD | {"issued_at": issued}, NOW)]) == faults


def test_the_tables_take_what_the_service_can_say_today():
    newest = FORMATS[NEWEST]
    assert all(newest["verdict"].holds(verdict.value) for verdict in Verdict)
    for text in ("mnist-good100", "a.b_c", "A", "", "a/b", "1", "007", "0", "9" * 9, "9" * 10):
        assert newest["model"]["name"].holds(text) == bool(files.NAME.fullmatch(text))
        assert newest["model"]["version"].holds(text) == bool(files._VERSION.fullmatch(text))
