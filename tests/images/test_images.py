"""docs/images.md says what happens to every kind of image, and a certificate covers what its scope says."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodcert import engine
from goodcert.bounds.ball import Ball, parse_epsilon
from goodcert.images.decode import decode, open_image
from goodcert.images.errors import ImageRefused
from goodcert.images.preprocess import prepare
from goodcert.serve.http.problems import problem_of
from graphs import classifier

PAGE = Path(__file__).parents[2] / "docs" / "images.md"
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def saved(image, kind="PNG", **options):
    buffer = BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def png(colour_type, depth, row_bytes):
    """A PNG of 6 x 5 pixels that Pillow reads but does not write."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 5, 6, depth, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + RANDOM.bytes(row_bytes) for _ in range(6))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def with_alpha(*channels):
    return np.dstack([*channels, np.full(GREY.shape, 9, np.uint8)])


def oriented():
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    return saved(COLOUR, "JPEG", exif=exif.tobytes())


def animated(kind):
    frames = [Image.fromarray(COLOUR // (i + 1)) for i in range(2)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


PALETTE = Image.fromarray(COLOUR).quantize(8)
FILES = {
    "grey, 1 bit": lambda: saved(GREY > 99),
    "grey, 4 bits": lambda: png(0, 4, 3),
    "grey, 8 bits": lambda: saved(GREY),
    "grey, 16 bits": lambda: saved(GREY.astype(np.uint16) * 200),
    "grey and alpha, 8 bits": lambda: saved(Image.frombytes("LA", (5, 6), with_alpha(GREY).tobytes())),
    "grey and alpha, 16 bits": lambda: png(4, 16, 20),
    "grey with a transparent value": lambda: saved(GREY, transparency=7),
    "colour, 8 bits": lambda: saved(COLOUR),
    "colour, 16 bits": lambda: png(2, 16, 30),
    "colour and alpha, 8 bits": lambda: saved(with_alpha(COLOUR)),
    "colour and alpha, 16 bits": lambda: png(6, 16, 40),
    "palette": lambda: saved(PALETTE),
    "palette with transparency": lambda: saved(PALETTE, transparency=0),
    "grey JPEG": lambda: saved(GREY, "JPEG"),
    "colour JPEG": lambda: saved(COLOUR, "JPEG"),
    "CMYK JPEG": lambda: saved(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
    "JPEG with an EXIF orientation": oriented,
    "lossless WebP": lambda: saved(COLOUR, "WEBP", lossless=True),
    "grey BMP": lambda: saved(GREY, "BMP"),
    "colour BMP": lambda: saved(COLOUR, "BMP"),
    "animated PNG": lambda: animated("PNG"),
    "animated WebP": lambda: animated("WEBP"),
    "JPEGs bundled as MPO": lambda: animated("MPO"),
    "GIF": lambda: saved(GREY, "GIF"),
    "TIFF": lambda: saved(GREY, "TIFF"),
}


def told():
    """(kind, read as, bits, scope) of every row of the page's first table."""
    rows = re.findall(r"^\| ([^|]+) \| (grey|colour|refused) \| (\d*) ?\| (\w+) \|", PAGE.read_text(), re.M)
    assert {row[0] for row in rows} == set(FILES)
    return rows


def decoded(data):
    return decode(data, open_image(data, 10_000))


@pytest.mark.parametrize(("kind", "read_as", "bits", "scope"), told())
def test_every_kind_of_image_is_treated_as_the_page_says(kind, read_as, bits, scope, make_metadata):
    data = FILES[kind]()
    if read_as == "refused":
        with pytest.raises(ImageRefused) as refused:
            decoded(data)
        assert problem_of(refused.value).code == scope
        return
    image = decoded(data)
    assert image.pixels.shape == ((6, 5) if read_as == "grey" else (6, 5, 3))  # never turned, no alpha left
    assert image.pixels.dtype == f"uint{bits}"
    assert prepare(image, make_metadata(resize="area"), 0.0).scope == scope


def test_four_bits_of_grey_are_spread_over_eight_exactly():
    assert set(np.unique(decoded(FILES["grey, 4 bits"]()).pixels % 17)) == {0}


# --- the upload is covered ----------------------------------------------------------------------------


EPSILON = "0.04"


@pytest.fixture(scope="module")
def engines():
    """Real engines of small convolutional networks, by how many channels they take."""
    return {channels: engine.compile(classifier(seed=3, channels=channels), threads=1) for channels in (1, 3)}


def ball_of(pixels, metadata, epsilon):
    """By the way of an upload: a file, its bytes, its pixels, the model's input."""
    return prepare(decoded(saved(pixels)), metadata, parse_epsilon(epsilon)).ball


def certified(certifier, balls):
    return certifier.certify_balls(Ball(*(np.stack(arrays) for arrays in zip(*balls, strict=True))))


def perturbed(pixels, signs):
    """Every pixel moved as far as epsilon lets it, up or down, in whole steps."""
    most = int(np.iinfo(pixels.dtype).max)
    steps = int(float(EPSILON) * most)
    return np.clip(pixels.astype(np.int64) + steps * signs, 0, most).astype(pixels.dtype)


@pytest.mark.parametrize("rule", ["area", "bilinear"])
@pytest.mark.parametrize("size", [(19, 13), (5, 6), (8, 17)])
@pytest.mark.parametrize(
    "kind", ["grey", "deep", "colour", "grey for a colour model", "colour for a colour model"]
)
def test_no_upload_within_epsilon_is_given_more_confidence_than_the_bound(
    engines, make_metadata, rule, size, kind
):
    """A search among perturbed files: corners of the ball, then those that did best, mutated."""
    random = np.random.default_rng(sum(size))
    channels = 3 if kind.endswith("model") else 1
    shape = (*size, 3) if kind.startswith("colour") else size
    pixels = (
        random.integers(0, 65536, shape).astype("u2")
        if kind == "deep"
        else random.integers(0, 256, shape).astype("u1")
    )
    metadata = make_metadata(
        height=8, width=8, resize=rule, color="rgb" if channels == 3 else "grey", labels=tuple("abcdefghij")
    )
    certifier = engines[channels]
    here = certified(certifier, [ball_of(pixels, metadata, EPSILON)])
    signs, best = random.choice([-1, 1], (16, *shape)), 0.0
    for _ in range(3):
        found = certified(certifier, [ball_of(perturbed(pixels, s), metadata, "0") for s in signs]).confidence
        best = max(best, float(found.max()))
        parent = signs[found.argmax()]
        signs = np.where(random.random((16, *shape)) < 0.1, -parent, parent)
    assert here.confidence[0] < best <= here.confidence_upper_bound[0]


def test_sixteen_bits_of_colour_would_not_be_covered_which_their_scope_says(make_metadata):
    """One step of 65535 apart, but 1/255 apart in what the decoder leaves of them."""
    points = []
    for value in (0x80FF, 0x8100):
        rows = np.full((4, 18), value, ">u2").tobytes()
        header = struct.pack(">IIBBBBB", 6, 4, 16, 2, 0, 0, 0)
        body = zlib.compress(b"".join(b"\0" + rows[i : i + 36] for i in range(0, len(rows), 36)))
        parts = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
        chunks = [
            struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
            for name, part in parts
        ]
        prepared = prepare(decoded(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)), make_metadata(), 0.0)
        assert prepared.scope == "model_input"
        points.append(prepared.ball.point)
    assert (points[1] - points[0]).min() > 0.003
