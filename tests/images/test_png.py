"""Plain PNGs take a short way, and come out as the long way has them."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import PngImagePlugin

import hostile_images
from goodcert.images import decode as decoding
from goodcert.images.decode import decode, open_image
from goodcert.images.errors import ImageRefused
from goodcert.images.png import MOST_PIECES, MOST_PIXELS, plain
from hostile_images import chunk, encode, png

ROWS = st.integers(1, 12)


def by_the_long_way(data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "plain", lambda _: None)
        return decoded(data)


def decoded(data):
    """What becomes of an upload: its pixels and all that is said of it, or the type of the refusal."""
    try:
        image = decode(data, open_image(data, 10_000))
    except ImageRefused as error:
        return type(error)
    return (*image[1:], image.pixels.dtype, image.pixels.tolist())


def filtered(pixels, kinds):
    """The rows of a PNG, each under the filter that is named for it (PNG specification, section 9)."""
    rows = pixels.reshape(len(pixels), -1).astype(int)
    step = rows.shape[1] // pixels.shape[1]
    above, out = np.zeros_like(rows[0]), b""
    for row, kind in zip(rows, kinds, strict=True):
        left, corner = (np.r_[np.zeros(step, int), line[:-step]] for line in (row, above))
        guess = left + above - corner
        away = np.abs(guess - np.stack([left, above, corner]))
        paeth = np.stack([left, above, corner])[away.argmin(axis=0), np.arange(len(row))]
        predicted = [0 * row, left, above, (left + above) // 2, paeth][kind]
        out += bytes([kind]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
        above = row
    return out


@st.composite
def plain_files(draw):
    """Pixels, and a plain PNG of them: any filter in any row, any compression, cut into any chunks."""
    height, width, channels = draw(ROWS), draw(ROWS), draw(st.sampled_from([1, 3]))
    values = draw(st.binary(min_size=height * width * channels, max_size=height * width * channels))
    pixels = np.frombuffer(values, np.uint8).reshape(height, width, channels)
    kinds = draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    stream = zlib.compress(filtered(pixels, kinds), draw(st.integers(0, 9)))
    cut = draw(st.integers(0, len(stream)))
    colour, rest = {1: 0, 3: 2}[channels], chunk(b"IDAT", stream[cut:])
    data = png(width, height, colour=colour, data=stream[:cut], after=rest)
    return pixels[..., 0] if channels == 1 else pixels, data


@given(plain_files())
def test_the_pixels_are_those_that_the_file_stores(made):
    pixels, data = made
    short = plain(data)
    assert short is not None
    np.testing.assert_array_equal(short.pixels(), pixels)
    image = decode(data, open_image(data, 10_000))
    assert (image.format, image.exact, image.height, image.width) == ("PNG", True, *pixels.shape[:2])
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_what_encoders_write_by_default_is_plain(mode):
    image = hostile_images.picture(mode)
    short = plain(encode(image, "PNG"))
    assert short is not None
    np.testing.assert_array_equal(short.pixels(), np.asarray(image))


def _with_text():
    notes = PngImagePlugin.PngInfo()
    notes.add_text("who", "knows")
    return encode(hostile_images.picture("L"), "PNG", pnginfo=notes)


GOOD = png()
OTHERS = {
    "two channels": encode(hostile_images.picture("LA"), "PNG"),
    "a palette": encode(hostile_images.picture("P"), "PNG"),
    "bits": encode(hostile_images.picture("1"), "PNG"),
    "sixteen bits": encode(hostile_images.picture("I;16"), "PNG"),
    "transparency": encode(hostile_images.picture("L"), "PNG", transparency=3),
    "text": _with_text(),
    "a second frame": png(before=chunk(b"acTL", bytes(8))),
    "interlaced": png(interlace=1),
    "no pixels": png(width=0),
    "too many pixels": png(width=MOST_PIXELS, height=2),
    "no data": png(data=b""),
    "many pieces": png(before=chunk(b"IDAT", b"") * MOST_PIECES),
    "a wrong checksum of the header": GOOD[:29] + b"\0" + GOOD[30:],
    "a wrong checksum of the data": GOOD[:-16] + b"\0" + GOOD[-15:],
    "something after the end": GOOD + b"\0",
    "an end in the data": GOOD[:33] + GOOD[-12:],
    "cut": GOOD[:-1],
    "a JPEG": encode(hostile_images.picture("L"), "JPEG"),
    "nothing": b"",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_plain_takes_the_long_way(name):
    assert plain(OTHERS[name]) is None


@st.composite
def broken_streams(draw):
    """Files whose chunks are in order, but not what is in them."""
    stream = bytearray(zlib.compress(filtered(np.arange(24).reshape(4, 6, 1), [4, 3, 2, 1])))
    for _ in range(draw(st.integers(0, 3))):
        stream[draw(st.integers(0, len(stream) - 1))] = draw(st.integers(0, 255))
    stream = bytes(stream[: draw(st.integers(1, len(stream)))]) + draw(st.binary(max_size=4))
    width, height = draw(st.sampled_from([(6, 4), (6, 3), (5, 4), (7, 4), (4, 6), (6, 5), (24, 1)]))
    cut = draw(st.integers(0, len(stream)))
    return png(
        width, height, colour=draw(st.sampled_from([0, 2])), data=stream[:cut], after=chunk(b"IDAT", stream[cut:])
    )


@settings(max_examples=500)
@given(data=broken_streams())
def test_both_ways_judge_alike(data):
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert decoded(data) == by_the_long_way(data, monkeypatch)


@pytest.mark.parametrize("family", hostile_images.FAMILIES)
def test_both_ways_judge_hostile_files_alike(family, monkeypatch):
    for name, data in hostile_images.FAMILIES[family]():
        if plain(data) is not None:
            assert decoded(data) == by_the_long_way(data, monkeypatch), name
