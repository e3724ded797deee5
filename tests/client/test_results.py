"""An answer becomes a typed record, or an error that names the field at fault."""

import copy
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from client import wire
from goodcert.client import (
    Certificate,
    EngineInfo,
    ImageInfo,
    ModelInfo,
    ModelRef,
    PartError,
    Prediction,
    UnreadableAnswer,
)
from goodcert.client.results import certificates_from_json, models_from_json


def _places(document: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    places = []
    for name, value in document.items():
        places.append((*prefix, name))
        places += _places(value, (*prefix, name)) if isinstance(value, dict) else []
    return places


def _changed(place: tuple[str, ...], value: object) -> dict[str, Any]:
    document = copy.deepcopy(wire.certificate())
    inner = document
    for name in place[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return document


def test_every_field_of_a_certificate_is_read():
    document = wire.certificate()
    assert Certificate.from_json(document) == Certificate(
        format=2,
        id="c-1",
        model=ModelRef(name="mnist-good100", version="1", sha256="aa"),
        image=ImageInfo(sha256="bb", format="PNG", width=28, height=30),
        epsilon=0.3,
        norm="linf",
        scope="upload",
        method="ibp",
        prediction=Prediction(index=7, label="seven"),
        confidence=0.9987,
        confidence_upper_bound=1.0,
        confidence_lower_bound=0.31,
        possible_labels=("seven", "one"),
        threshold=0.72,
        verdict="in_distribution",
        certified_radius=None,
        issued_at=datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
        engine=EngineInfo(version="0.1.0", device="cpu"),
        raw=document,
    )


@pytest.mark.parametrize("place", _places(wire.certificate())[1:], ids=".".join)
def test_a_missing_field_is_named_with_its_place(place: tuple[str, ...]):
    where = ".".join(("certificate", *place[:-1]))
    with pytest.raises(UnreadableAnswer, match=f"^{where}: field '{place[-1]}' is missing, got "):
        Certificate.from_json(_changed(place, ...))


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (("confidence",), "0.9", "expected a finite number, got '0.9'"),
        (("confidence",), True, "expected a finite number, got True"),
        (("confidence",), None, "expected a finite number, got None"),
        (("confidence",), json.loads("NaN"), "expected a finite number, got nan"),
        (("confidence",), json.loads("1e999"), "expected a finite number, got inf"),
        (("confidence",), 10**400, "expected a finite number, got 1000"),
        (("certified_radius",), "far", "expected a finite number, got 'far'"),
        (("format",), "2", "expected a whole number, got '2'"),
        (("prediction", "index"), 7.5, "expected a whole number, got 7.5"),
        (("prediction", "index"), True, "expected a whole number, got True"),
        (("prediction", "label"), 7, "expected a string, got 7"),
        (("possible_labels",), "seven", "expected a list of strings, got 'seven'"),
        (("possible_labels",), ["seven", 1], r"expected a list of strings, got \['seven', 1\]"),
        (("issued_at",), "yesterday", "expected a time in ISO 8601, got 'yesterday'"),
        (("model",), [], r"expected a JSON object, got \[\]"),
    ],
)
def test_a_field_of_another_type_is_refused(place: tuple[str, ...], value: object, expected: str):
    with pytest.raises(UnreadableAnswer, match=f"^certificate.{'.'.join(place)}: {expected}"):
        Certificate.from_json(_changed(place, value))


def test_a_certificate_without_a_format_is_of_the_first_one():
    assert Certificate.from_json(_changed(("format",), ...)).format == 1


@pytest.mark.parametrize("document", [None, [], "certificate", 3])
def test_what_is_no_object_is_no_certificate(document: object):
    with pytest.raises(UnreadableAnswer, match="expected a JSON object"):
        Certificate.from_json(document)


def test_whole_numbers_are_good_confidences():
    read = Certificate.from_json(wire.certificate(confidence_upper_bound=1, certified_radius=0))
    assert (read.confidence_upper_bound, read.certified_radius) == (1.0, 0.0)
    assert isinstance(read.confidence_upper_bound, float)


def test_fields_of_a_newer_service_are_kept_and_change_nothing():
    newer = Certificate.from_json(wire.certificate(estimate={"confidence_upper_bound": 0.2}))
    assert newer.raw["estimate"] == {"confidence_upper_bound": 0.2}
    assert newer == Certificate.from_json(wire.certificate())
    assert hash(newer) == hash(Certificate.from_json(wire.certificate()))


def test_a_certificate_cannot_be_altered():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Certificate.from_json(wire.certificate()).confidence = 1.0  # type: ignore[misc]


def test_a_failed_part_is_a_value_between_its_neighbours():
    error = {"type": "about:blank", "title": "Not an image", "status": 415, "detail": "d", "code": "not_an_image"}
    document = {"certificates": [wire.certificate(id="a"), {"error": error}, wire.certificate(id="b")]}
    first, second, third = certificates_from_json(document, 3)
    assert isinstance(first, Certificate)
    assert isinstance(third, Certificate)
    assert (first.id, third.id) == ("a", "b")
    assert second == PartError(code="not_an_image", status=415, title="Not an image", detail="d")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_answer_for_another_number_of_images_is_refused(count: int):
    with pytest.raises(UnreadableAnswer, match=f"expected 2 certificates, one an image, got {count}"):
        certificates_from_json({"certificates": [wire.certificate()] * count}, 2)


def test_a_broken_certificate_among_many_is_named_by_its_number():
    broken = _changed(("model", "name"), ...)
    with pytest.raises(UnreadableAnswer, match=r"^certificates\[1\].model: field 'name' is missing"):
        certificates_from_json({"certificates": [wire.certificate(), broken]}, 2)


def test_a_model_needs_a_name_and_a_version_only():
    entry = {"name": "m", "version": "2", "labels": ["cat"], "input": {"width": 32}}
    assert models_from_json({"models": [entry]}) == [ModelInfo(name="m", version="2", raw=entry)]
    assert ModelInfo.from_json(entry).raw["labels"] == ["cat"]
    with pytest.raises(UnreadableAnswer, match=r"^models\[0\]: field 'version' is missing, got name;"):
        models_from_json({"models": [{"name": "m"}]})
