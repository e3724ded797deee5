"""Which uploads `goodcert verify --exact` reads: those that store the pixels themselves, of 8 bits."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from goodcert.checker import NotCheckable
from goodcert.cli.exact import pixels

COLOURS = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP"])
@pytest.mark.parametrize("stored", [COLOURS, COLOURS[..., 0]])
def test_plain_images_are_read_as_they_were_stored(stored: np.ndarray, form: str) -> None:
    assert np.array_equal(pixels(saved(Image.fromarray(stored), form)), stored)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(Image.fromarray(COLOURS), exif=exif)


def several() -> bytes:
    frames = [Image.fromarray(COLOURS + np.uint8(step)) for step in (0, 1)]
    return saved(frames[0], save_all=True, append_images=frames[1:])


ODD: dict[str, Callable[[], bytes]] = {
    "with alpha": lambda: saved(Image.fromarray(COLOURS).convert("RGBA")),
    "with a palette": lambda: saved(Image.fromarray(COLOURS).quantize(4)),
    "with a transparent colour": lambda: saved(Image.fromarray(COLOURS), transparency=(1, 2, 3)),
    "of 16 bits": lambda: saved(Image.fromarray(COLOURS[..., 0].astype(np.uint16))),
    "turned": turned,
    "several": several,
    "of another format": lambda: saved(Image.fromarray(COLOURS), "TIFF"),
    "cut off": lambda: saved(Image.fromarray(COLOURS))[:60],
    "nothing": bytes,
}


@pytest.mark.parametrize("name", ODD)
def test_other_images_are_refused(name: str) -> None:
    with pytest.raises(NotCheckable, match="the image"):
        pixels(ODD[name]())
