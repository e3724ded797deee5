"""Uploads that decode, those that do not, and whether the pixels are those of the file."""

import hashlib
import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from goodcert.images.decode import decode, open_image
from goodcert.images.errors import NotAnImage, SeveralFrames, TooManyPixels


def decoded(data, max_pixels=10_000):
    return decode(data, open_image(data, max_pixels))


def png_header(width, height, depth=8, colour=0):
    """A PNG that announces a size and holds nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def deep_colour_png(value):
    """One pixel of 16 bits per channel, which Pillow can read but not write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    pixel = zlib.compress(b"\0" + struct.pack(">HHH", value, value, value))
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_grey_pixels_come_out_as_they_went_in(pixels, encode, kind):
    image = decoded(encode(pixels, kind))
    assert (image.format, image.height, image.width, image.exact) == (kind, 4, 6, True)
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, pixels)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_colour_pixels_come_out_as_they_went_in(encode, kind, options):
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = decoded(encode(colour, kind, **options))
    assert image.exact
    np.testing.assert_array_equal(image.pixels, colour)


def test_jpeg_is_read_as_pillow_reads_it(pixels, encode):
    data = encode(pixels, "JPEG")
    image = decoded(data)
    assert (image.format, image.exact) == ("JPEG", True)
    np.testing.assert_array_equal(image.pixels, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_and_not_blended(encode, mode):
    whole = np.random.default_rng(0).integers(0, 256, (3, 3, len(mode)), dtype=np.uint8)
    image = decoded(encode(Image.frombytes(mode, (3, 3), whole.tobytes())))
    assert image.exact
    np.testing.assert_array_equal(image.pixels, whole[..., 0] if mode == "LA" else whole[..., :3])


def test_one_bit_pixels_are_black_and_white(encode):
    bits = np.array([[True, False], [False, True]])
    image = decoded(encode(Image.fromarray(bits)))
    assert image.exact
    np.testing.assert_array_equal(image.pixels, bits * 255)


def test_sixteen_bit_grey_keeps_its_depth(encode):
    deep = np.array([[0, 1], [256, 65535]], dtype=np.uint16)
    image = decoded(encode(deep))
    assert image.exact
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels, deep)


def test_sixteen_bit_colour_loses_depth_and_says_so():
    image = decoded(deep_colour_png(0x80FF))
    assert not image.exact
    np.testing.assert_array_equal(image.pixels, [[[0x80, 0x80, 0x80]]])


def test_a_palette_is_looked_up_and_not_exact(encode):
    palette = Image.fromarray(np.eye(4, dtype=np.uint8)).convert("P")
    image = decoded(encode(palette, transparency=bytes([0, 255])))
    assert (image.exact, image.pixels.shape) == (False, (4, 4, 3))


def test_cmyk_is_converted_and_not_exact(encode):
    image = decoded(encode(Image.new("CMYK", (3, 2), (10, 20, 30, 40)), "JPEG"))
    assert (image.exact, image.pixels.shape) == (False, (2, 3, 3))


def test_the_hash_is_of_the_uploaded_bytes(png):
    assert decoded(png).sha256 == hashlib.sha256(png).hexdigest()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(encode, kind):
    with pytest.raises(NotAnImage):
        decoded(encode(Image.new("L", (16, 16)), kind))


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n", b"BM", b"\xff\xd8\xff", b"RIFF1234WEBP"])
def test_bytes_that_are_no_image_are_refused(data):
    with pytest.raises(NotAnImage):
        decoded(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_file_cut_anywhere_is_refused_or_still_whole(encode, kind):
    colour = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    data = encode(colour, kind)
    whole = decoded(data).pixels
    refused = 0
    for length in range(0, len(data), 7):
        try:
            np.testing.assert_array_equal(decoded(data[:length]).pixels, whole)
        except NotAnImage:
            refused += 1
    assert refused > 0.9 * len(data) / 7


def test_flipped_bytes_never_raise_anything_unexpected(encode):
    rng = np.random.default_rng(2)
    for kind in ("PNG", "JPEG", "WEBP", "BMP"):
        data = np.frombuffer(encode(np.zeros((8, 8, 3), np.uint8), kind), np.uint8)
        for _ in range(100):
            broken = data.copy()
            broken[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
            with suppress(NotAnImage, SeveralFrames, TooManyPixels):
                decoded(broken.tobytes())


@pytest.mark.parametrize("width", [101, 10_000, 100_000, 2**31 - 1])
def test_too_many_pixels_are_refused_by_the_header(width):
    with pytest.raises(TooManyPixels):
        open_image(png_header(width, 100), max_pixels=10_000)


def test_exactly_the_most_pixels_are_taken():
    assert open_image(png_header(100, 100), max_pixels=10_000).size == (100, 100)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_refused(encode, kind):
    frames = [Image.new("RGB", (4, 4), (100 * i, 0, 0)) for i in range(3)]
    with pytest.raises(SeveralFrames):
        decoded(encode(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_a_bundle_of_jpegs_is_refused(encode):
    frames = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(2)]
    with pytest.raises(SeveralFrames):
        decoded(encode(frames[0], "MPO", save_all=True, append_images=frames[1:]))
