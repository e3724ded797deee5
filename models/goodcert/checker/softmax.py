"""Eq. 6 between two numbers, as close as asked for.

Exponents are rational; `decimal` rounds divisions and sums down for one end and up for the other; its exp is
rounded to the nearest and moved to the next number outward. With n digits the ends of exp(x), |x| < 10^(n / 2),
differ by less than (|x| + 4) 10^(1 - n) of it; those of a share of K classes, by less than K + 2 such units more
than the worst of its exponentials.
"""

from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from functools import reduce

from goodcert.checker.propagation import Integers

Enclosure = tuple[Fraction, Fraction]
"""A real number is between the two, or is both."""


def largest_share(exponents: Integers, scale: int, digits: int, least: Fraction = Fraction(0)) -> Enclosure:
    """Of max_k 1 / sum_l exp(exponents[k, l] / scale), (K, K), or of 1 / K or `least` where that is more.

    A row with an exponent of K or more gives less than 1 / K, as exp(K) > K, and is left out.
    """
    classes = len(exponents)
    rows = [_share(row, scale, digits) for row in exponents if max(row) < classes * scale]
    lows, highs = zip((max(least, Fraction(1, classes)),) * 2, *rows, strict=True)
    return max(lows), max(highs)


def _share(row: Integers, scale: int, digits: int) -> Enclosure:
    down, up = (
        Context(prec=digits, rounding=rounding, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
        for rounding in (ROUND_FLOOR, ROUND_CEILING)
    )
    ratios = [(Decimal(number), Decimal(scale)) for number in row if number]
    ones = Decimal(len(row) - len(ratios))  # exp(0) is 1, with no number outward
    least = (down.next_minus(down.exp(down.divide(*ratio))) for ratio in ratios)
    most = (up.next_plus(up.exp(up.divide(*ratio))) for ratio in ratios)
    return 1 / Fraction(reduce(up.add, most, ones)), 1 / Fraction(reduce(down.add, least, ones))
