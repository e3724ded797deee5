"""Transcendental operators in arbitrary precision."""

from collections.abc import Callable
from typing import Any

import mpmath

mp = mpmath.mp
TRUE: dict[str, Callable[[Any], Any]] = {
    "Celu": lambda x: x if x > 0 else mp.expm1(x),
    "Elu": lambda x: x if x > 0 else mp.expm1(x),
    "Erf": mp.erf,
    "Exp": mp.exp,
    "Gelu": lambda x: x * mp.ncdf(x),
    "HardSwish": lambda x: x * max(0, min(1, x / 6 + mp.mpf(1) / 2)),
    "Log": mp.log,
    "Mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    "Selu": lambda x: mp.mpf(1.0507010221481323) * (x if x > 0 else mp.mpf(1.6732631921768188) * mp.expm1(x)),
    "Sigmoid": lambda x: 1 / (1 + mp.exp(-x)),
    "Softplus": lambda x: mp.log1p(mp.exp(x)),
    "Softsign": lambda x: x / (1 + abs(x)),
    "Sqrt": mp.sqrt,
    "Swish": lambda x: x / (1 + mp.exp(-x)),
    "Tanh": mp.tanh,
}
OPSETS = {"Gelu": 20, "Mish": 18, "Swish": 24}
