"""Files of too many parts are known before a decoder walks through them."""

import pytest

from goodcert.images.parts import MOST_CHUNKS, MOST_SCANS, MOST_SEGMENTS, too_many
from hostile_images import chunk, encode, picture, png, seeds

JPEG = encode(picture("RGB"), "JPEG")


def with_comments(count):
    return JPEG[:2] + b"\xff\xfe\0\4ab" * count + JPEG[2:]


@pytest.mark.parametrize("data", seeds().values(), ids=seeds())
def test_good_files_have_few_parts(data):
    assert not too_many(data)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF89a", b"\xff\xd8\xff"])
def test_what_ends_early_has_none(data):
    assert not too_many(data)


def test_chunks_of_a_png_are_counted_up_to_its_end():
    assert not too_many(png(before=chunk(b"tEXt", b"a") * (MOST_CHUNKS - 10)))
    assert too_many(png(before=chunk(b"tEXt", b"a") * (MOST_CHUNKS + 1)))
    assert not too_many(png() + chunk(b"tEXt", b"a") * (MOST_CHUNKS + 1))


def test_segments_of_a_jpeg_are_counted_up_to_its_pixels():
    assert not too_many(with_comments(MOST_SEGMENTS - 20))
    assert too_many(with_comments(MOST_SEGMENTS + 1))


@pytest.mark.parametrize("filler", [b"\xff", b"\0", b"x", b"\xff\0", b"\xff\xd0"])
def test_bytes_between_segments_count_as_much(filler):
    assert too_many(JPEG[:2] + filler * (MOST_SEGMENTS + 1) + JPEG[2:])


def test_scans_of_a_jpeg_are_counted():
    scan = JPEG[JPEG.rindex(b"\xff\xda") : -2]
    assert not too_many(JPEG[:-2] + scan * (MOST_SCANS - 1) + JPEG[-2:])
    assert too_many(JPEG[:-2] + scan * MOST_SCANS + JPEG[-2:])


@pytest.mark.parametrize(("compression", "refused"), [(0, False), (1, True), (2, True), (3, False)])
def test_run_lengths_of_a_bmp_are_too_slow(compression, refused):
    data = encode(picture("P"), "BMP")
    assert too_many(data[:30] + bytes([compression]) + data[31:]) is refused
