"""Whatever is uploaded, the answer is a certificate or a refusal, and the next image gets the same as ever."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hostile_images
from goodcert.images.decode import decode, open_image
from goodcert.images.errors import ImageRefused

SECONDS = 20
REFUSALS = {"not_an_image", "several_frames", "too_many_pixels", "wrong_size", "body_too_large", "empty_body"}


@pytest.fixture(scope="module")
def good():
    return hostile_images.encode(hostile_images.picture("L"), "PNG")


def numbers(answer):
    assert answer.status_code == 200
    return {name: value for name, value in answer.json().items() if name not in ("id", "issued_at")}


@pytest.mark.parametrize("family", hostile_images.FAMILIES)
def test_a_hostile_image_gets_a_certificate_or_a_refusal_and_harms_nobody(
    start, tmp_path, write_model, good, family, record_property
):
    write_model(tmp_path / "models", resize="area", color="rgb")
    with start() as service:
        expected, statuses = numbers(service.certify(good)), Counter()
        for number, (name, data) in enumerate(hostile_images.FAMILIES[family]()):
            answer = service.certify(data, timeout=SECONDS)
            statuses[answer.status_code] += 1
            if answer.status_code != 200:
                assert (400 <= answer.status_code < 500, answer.json()["code"] in REFUSALS) == (True, True), name
            if number % 20 == 0:
                assert numbers(service.certify(good)) == expected, name
        assert numbers(service.certify(good)) == expected
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    record_property("found", f"{statuses.total()} images: {told}")


def test_in_a_form_the_good_images_among_hostile_ones_get_their_numbers(service, good):
    expected = numbers(service.certify(good))
    images = [data for _, data in hostile_images.flips()][::5]
    mixed = [part for image in images for part in (image, good)]
    entries = service.certify_form(mixed).json()["certificates"]
    told = [{name: value for name, value in entry.items() if name not in ("id", "issued_at")} for entry in entries]
    assert told[1::2] == [expected] * len(images)


def test_there_are_thousands_of_them():
    families = set(hostile_images.FAMILIES.values()) - {hostile_images.bombs}  # large to make, and few
    assert sum(sum(1 for _ in family()) for family in families) > 3000


@st.composite
def mutated(draw):
    """A good file in which some pieces were replaced, perhaps by pieces of another."""
    data = draw(st.sampled_from(list(hostile_images.seeds().values())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        data = data[:start] + draw(st.binary(max_size=40)) + data[end:]
    return data


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(mutated() | st.binary(max_size=200))
def test_decoding_anything_raises_refusals_only(data):
    try:
        decoded = decode(data, open_image(data, 10_000))
    except ImageRefused:
        return
    assert decoded.pixels.shape[:2] == (decoded.height, decoded.width)
    assert decoded.width * decoded.height <= 10_000
