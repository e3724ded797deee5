"""What `goodcert verify --exact` adds to the checker: the pixels of the image, and sentences."""

from decimal import Decimal
from fractions import Fraction
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from goodcert.checker import Comparison, NotCheckable

_ORIENTATION = 0x0112


def pixels(upload: bytes) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3), of an image that stores just these. Raises NotCheckable."""
    try:
        with Image.open(BytesIO(upload), formats=("PNG", "JPEG", "WEBP", "BMP")) as image:
            image.load()
            # Pillow cuts colours of 16 bits, and byte 24 of a PNG is the number of bits.
            deep = image.format == "PNG" and upload[24] > 8
            turned = image.getexif().get(_ORIENTATION, 1) != 1
            several = getattr(image, "n_frames", 1) != 1
            if image.mode in ("L", "RGB") and not (deep or turned or several or "transparency" in image.info):
                return np.asarray(image)
    except Exception as error:  # Pillow raises nine types and more on bad files
        raise NotCheckable("the image cannot be decoded") from error
    raise NotCheckable(
        f"the image has mode {image.mode!r}, or is deeper than 8 bits, turned, transparent or several, but the "
        "exact checker knows only plain images, grey or in colour"
    )


def sentence(found: Comparison) -> str:
    stated = f"{found.name}: {found.stated}"
    above = (found.excess > 0) == (found.name == "confidence_upper_bound")
    far = f"is {_digits(abs(found.excess), 3)} {'above' if above else 'below'} {_digits(found.exact[0], 17)},"
    if found.excess < 0:
        return f"{stated} {far} what interval propagation gives in exact arithmetic: the statement is refuted"
    return f"{stated} {far if found.excess else 'equals'} what follows in exact arithmetic: it holds."


def _digits(value: Fraction, digits: int) -> str:
    return f"{Decimal(value.numerator) / Decimal(value.denominator):.{digits}g}"
