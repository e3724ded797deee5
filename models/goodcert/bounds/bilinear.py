"""Matrix products whose factors both vary.

With X in mu_x +- r and Y in mu_y +- s, XY lies in mu_x mu_y +- (|mu_x| s + r (|mu_y| + s)) (Rump, Fast and
parallel interval arithmetic, 1999, section 3). Write T = (|mu_x| + r)(|mu_y| + s), which bounds every |X||Y| in
the box.

Rounding. The deployed model sums K products and perhaps one entry of C, whose size T then includes, so it strays
from the real result by at most gamma_{K + 1} T + eta (rounding.py, 1.). All of ours runs in float64, whose errors
are below 2 (K + 8) 2^-53 T < 2^-31 T for K <= 2^20, and rounds its ends to float32, by less than 2 u T. So
gamma_{K + 8} T + 2^-100 covers both. That margin is at least 2^-21 T: outputs below 2^70 mean sums below 2^92.
"""

import torch
from torch import Tensor

from goodcert.bounds import affine
from goodcert.bounds.elementwise import operands
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Transform, number, require, varying


def matmul(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    if len(varying(node, inputs)) == 1:
        return affine.matmul(node, inputs, rounding)
    return lambda x, y: _rounded(*_product(x, y), _terms(x) + node.roundings, rounding)


def gemm(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """X Y + C, where any of the three may vary."""
    if varying(node, inputs) == [0]:
        return affine.gemm(node, inputs, rounding)
    plain = number(node, "alpha", 1.0) == number(node, "beta", 1.0) == 1
    require(node, plain, "alpha and beta of 1 beside operands that vary")
    gather = operands(inputs)
    turned = [bool(node.attributes.get(name, 0)) for name in ("transA", "transB")]

    def transform(*boxes: Interval) -> Interval:
        x, y, *biases = gather(*boxes)
        x, y = (Interval(v.lower.T, v.upper.T) if turn else v for v, turn in zip((x, y), turned, strict=True))
        centre, radius, size = _product(x, y)
        for mu, reach in map(_centred, biases):
            centre, radius, size = centre + mu, radius + reach, size + (mu.abs() + reach)
        return _rounded(centre, radius, size, _terms(x) + node.roundings, rounding)

    return transform


def _terms(x: Interval) -> int:
    return int(x.lower.shape[-1]) + 8


def _product(x: Interval, y: Interval) -> tuple[Tensor, Tensor, Tensor]:
    """(centre, radius, T), float64."""
    (mu, r), (nu, s) = _centred(x), _centred(y)
    sizes = mu.abs(), nu.abs() + s
    radius = torch.matmul(sizes[0], s) + torch.matmul(r, sizes[1])
    return torch.matmul(mu, nu), radius, torch.matmul(sizes[0] + r, sizes[1])


def _centred(x: Interval) -> tuple[Tensor, Tensor]:
    """(centre, radius), float64: exact up to one rounding."""
    lower, upper = x.lower.double(), x.upper.double()
    return (lower + upper) * 0.5, (upper - lower) * 0.5


def _rounded(centre: Tensor, radius: Tensor, size: Tensor, terms: int, rounding: Rounding) -> Interval:
    reach = radius + size * rounding.gamma(terms) + rounding.tiny
    return Interval((centre - reach).float(), (centre + reach).float())
