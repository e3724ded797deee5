"""From the bytes of an upload to its pixels, or a refusal."""

import hashlib
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodcert.images.errors import NotAnImage, SeveralFrames, TooManyPixels
from goodcert.images.parts import too_many
from goodcert.images.png import PlainPng, plain

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")

# The longest side a WebP can have: longer ones would need large weights for a resize.
MOST_SIDE = 16_383

# Alpha is dropped, not blended: the colour below it is what the file stores. For the same reason an
# orientation in the EXIF data turns nothing.
_GREY = frozenset({"1", "L", "LA"})
_DEEP_GREY = frozenset({"I", "I;16"})  # "I" is what older versions of Pillow call a 16-bit grey PNG
_COLOUR = frozenset({"RGB", "RGBA"})


Opened = PlainPng | Image.Image
"""An upload of which the header was read; it has a `width` and a `height`."""


class Decoded(NamedTuple):
    """An upload after decoding.

    pixels: uint8 (of 255) or uint16 (of 65535), (H, W) for grey or (H, W, 3) for red, green, blue.
    exact: whether these are the pixels that the file stores; False after a palette look-up, a colour
    conversion or a loss of depth. sha256: of the uploaded bytes, in hexadecimal.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    format: str
    width: int
    height: int
    sha256: str
    exact: bool


def open_image(data: bytes, max_pixels: int) -> Opened:
    """Read the header only. Raises NotAnImage, SeveralFrames or TooManyPixels."""
    image = plain(data) or _open(data)
    if image.width * image.height > max_pixels or max(image.width, image.height) > MOST_SIDE:
        raise TooManyPixels
    # A JPEG with several pictures in it comes back as format MPO.
    if isinstance(image, Image.Image) and (image.format not in FORMATS or getattr(image, "n_frames", 1) != 1):
        raise SeveralFrames
    return image


def _open(data: bytes) -> Image.Image:
    if too_many(data):
        raise NotAnImage
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels from error
    except Exception as error:  # Pillow raises nine types and more on bad files
        raise NotAnImage from error
    # The standard puts the header first, Pillow does not insist, and _loses_depth reads it there.
    if image.format == "PNG" and data[12:16] != b"IHDR":
        raise NotAnImage
    return image


def decode(data: bytes, image: Opened) -> Decoded:
    """The pixels of `image`, which `open_image` made of `data`. Raises NotAnImage."""
    digest = hashlib.sha256(data).hexdigest()
    if isinstance(image, PlainPng):
        stored = image.pixels()
        if stored is not None:
            return Decoded(stored, "PNG", image.width, image.height, digest, exact=True)
        image = _open(data)
    try:
        image.load()
        pixels, exact = _pixels(image)
    except Exception as error:  # as above
        raise NotAnImage from error
    exact = exact and not _loses_depth(data, image)
    return Decoded(pixels, str(image.format), image.width, image.height, digest, exact)


def _pixels(image: Image.Image) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], bool]:
    if image.mode in _GREY:
        grey = np.asarray(image.convert("L") if image.mode == "1" else image)
        return (grey[..., 0] if grey.ndim == 3 else grey), True
    if image.mode in _DEEP_GREY:
        return np.asarray(image).astype(np.uint16), True
    if image.mode in _COLOUR:
        return np.asarray(image)[..., :3], True
    image.info.pop("transparency", None)  # of a palette; dropped like any alpha
    return np.asarray(image.convert("RGB")), False


def _loses_depth(data: bytes, image: Image.Image) -> bool:
    """Whether Pillow cut 16-bit samples to 8 bits: it does for every PNG but a grey one without alpha."""
    depth = data[24] if image.format == "PNG" else 8
    return depth == 16 and image.mode not in _DEEP_GREY
