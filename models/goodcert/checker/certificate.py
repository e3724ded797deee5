"""What a certificate states, held against what follows from the file and the image."""

import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from goodcert.checker.model import read_chain, require
from goodcert.checker.propagation import ball, differences
from goodcert.checker.softmax import Enclosure, largest_share


class BadClaim(Exception):
    """What is stated is no certificate, or is about another model; the message says why."""


class Comparison(NamedTuple):
    """A bound as it is stated and as it is in exact arithmetic.

    excess: by how much the stated bound is on the safe side of the exact one (an upper bound above it, a lower one
    below it). Where it is negative the statement is refuted: it does not follow by interval propagation.
    """

    name: str
    stated: Decimal
    exact: Enclosure
    excess: Fraction


def check(certificate: bytes, model: bytes, pixels: NDArray[np.uint8]) -> tuple[Comparison, Comparison]:
    """The upper and the lower bound of the confidence. Raises NotCheckable, BadClaim.

    certificate: JSON, whose decimals are taken as they are written. model: the ONNX file. pixels: k of 255, (H, W)
    for grey or (H, W, 3); the caller decodes the image and knows that it is the one of the certificate.
    """
    body = _read(certificate)
    names = ("epsilon", "confidence_upper_bound", "confidence_lower_bound")
    epsilon, *stated = (_number(body, name) for name in names)
    if body["model"]["sha256"] != hashlib.sha256(model).hexdigest():
        raise BadClaim("the model file is another one than the one that answered: it has another SHA-256")
    (channels, *sizes), layers = read_chain(model)
    fits = pixels.dtype == np.uint8 and list(pixels.shape) in (sizes, [*sizes, 3])
    require(fits, f"the image is {pixels.shape} and the model takes {sizes}")
    bounds, scale = differences(ball(pixels, channels, Fraction(epsilon)), layers)
    # A lower bound of 1 / K is stated as the float64 next to it, which may be above it.
    trivial = Fraction(repr(1 / len(bounds)))
    upper = _compare(names[1], stated[0], lambda digits: largest_share(-bounds, scale, digits), 1)
    lower = _compare(names[2], stated[1], lambda digits: largest_share(bounds.T, scale, digits, trivial), -1)
    return upper, lower


def _compare(name: str, stated: Decimal, exact: Callable[[int], Enclosure], side: int) -> Comparison:
    """Takes more digits until the stated bound is outside the enclosure. That ends: a sum of exponentials of
    rationals, not all 0, is transcendental (Lindemann, Weierstrass), as no decimal is; of zeros it is exact here.
    """
    digits = 40
    while True:
        ends = exact(digits)
        least, most = sorted(side * (Fraction(stated) - end) for end in ends)
        if least >= 0 or most < 0:
            return Comparison(name, stated, ends, least if least >= 0 else most)
        digits *= 2


def _read(certificate: bytes) -> dict[str, Any]:
    try:
        body = json.loads(certificate, parse_float=Decimal)
        found = (body["method"], body["norm"], body["scope"], type(body["model"]["sha256"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BadClaim("what is stated is no certificate") from error
    require(found[:3] == ("ibp", "linf", "upload"), f"the bounds are by method, norm and scope {found[:3]}")
    return dict(body)


def _number(body: dict[str, Any], name: str) -> Decimal:
    value = body.get(name)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and 0 <= value <= 1:
        number = Decimal(value)
        if int(number.as_tuple().exponent) >= -400:
            return number
    raise BadClaim(f"{name}: stated {str(value)[:80]!r}, expected a number in [0, 1]")
