"""Taking a form apart."""

import pytest

from goodcert.serve.core.errors import MalformedMultipart, MediaTypeRefused, NoImages, UnknownPart
from goodcert.serve.http.multipart import images_of
from goodcert.serve.http.params import media_type

TYPE = "multipart/form-data; boundary=XX"


def part(body, disposition=b'form-data; name="images"; filename="a.png"'):
    return b"--XX\r\nContent-Disposition: " + disposition + b"\r\nContent-Type: image/png\r\n\r\n" + body + b"\r\n"


def test_parts_come_out_in_order_with_their_bytes():
    bodies = [b"one", b"\r\n--X\r\n", b"", bytes(range(256))]
    assert images_of(b"".join(map(part, bodies)) + b"--XX--\r\n", TYPE) == bodies


def test_a_part_needs_no_file_name():
    assert images_of(part(b"one", b"form-data; name=images") + b"--XX--", TYPE) == [b"one"]


@pytest.mark.parametrize("name", [b'form-data; name="image"', b"form-data", b"", b'form-data; name="epsilon"'])
def test_a_part_of_another_name_is_refused(name):
    with pytest.raises(UnknownPart):
        images_of(part(b"one") + part(b"0.3", name) + b"--XX--\r\n", TYPE)


@pytest.mark.parametrize(
    "body", [b"no form", b"--XX", part(b"one"), part(b"one")[:-9], b"--YY--\r\n", part(b"a").replace(b": ", b"\0")]
)
def test_a_form_that_is_cut_or_broken_is_refused(body):
    with pytest.raises(MalformedMultipart):
        images_of(body, TYPE)


def test_a_form_without_a_boundary_is_refused():
    with pytest.raises(MalformedMultipart):
        images_of(part(b"one"), "multipart/form-data")


def test_a_form_without_parts_is_refused():
    with pytest.raises((NoImages, MalformedMultipart)):
        images_of(b"--XX--\r\n", TYPE)


@pytest.mark.parametrize("header", ["image/png", "IMAGE/PNG", "image/jpeg; q=1", TYPE, "application/octet-stream"])
def test_image_types_and_forms_are_taken(header):
    assert media_type(header) in header.lower()


@pytest.mark.parametrize("header", ["", "text/plain", "image/gif", "application/json", "multipart/mixed"])
def test_other_types_are_refused(header):
    with pytest.raises(MediaTypeRefused):
        media_type(header)
