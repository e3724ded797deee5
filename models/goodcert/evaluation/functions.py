"""The functions whose float32 kernels the proofs trust, with what they trust them for (bounds/transcendental.py).

Each has its value in float64, which every input is held against, and in arbitrary precision, which the float64
value itself is held against where it matters most.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import pi, sqrt
from typing import Any, TypeAlias

import mpmath
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from goodcert.bounds.rounding import FLOAT32
from goodcert.bounds.transcendental import ABSOLUTE, DEPLOYED, ERF_ABSOLUTE, GELU_ABSOLUTE

Array: TypeAlias = NDArray[np.float32]
mp = mpmath.mp

UNIT = 2 * FLOAT32.unit
"""What a deployed root, reciprocal or quotient may err by, relatively: a unit in the last place at most."""

GAMMA, ALPHA = 1.0507010221481323, 1.6732631921768188
"""Of Selu: the float32 numbers that ONNX defines."""


@dataclass(frozen=True)
class Deployed:
    """One operator as it is deployed. A result y for the input x is as the proofs need it where

        |y - f(x)| <= relative |f(x)| + absolute (times |x| where `scaled`) + 2^-100.

    double: f in float64, from float64 tensors. true: f in arbitrary precision. torch: PyTorch's kernel.
    algebraic: a root or quotient, whose nearest float32 is known. positive: f has a value only from 0 on.
    increasing: f never falls. second: makes the second operand from the first.
    constant: the second operand, where it is one number.
    """

    name: str
    operator: str
    double: Callable[..., Tensor]
    true: Callable[..., Any]
    torch: Callable[..., Tensor]
    absolute: float = 0.0
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 17
    relative: float = DEPLOYED
    scaled: bool = False
    algebraic: bool = False
    positive: bool = False
    increasing: bool = True
    second: Callable[[Array], Array] | None = None
    constant: float | None = None

    def operands(self, x: Array) -> tuple[Array, ...]:
        return (x,) if self.second is None else (x, self.second(x))

    def reference(self, x: Array) -> NDArray[np.float64]:
        """f(x) as PyTorch computes it in float64: what kernels in float32 are compared with."""
        wide = (torch.from_numpy(operand).double() for operand in self.operands(x))
        return np.asarray(self.double(*wide).numpy())

    def beside(self, x: Array) -> NDArray[np.float64] | float:
        """What a kernel may err by beside its share of f(x)."""
        return abs(x) * np.float64(self.absolute) + FLOAT32.tiny if self.scaled else self.absolute + FLOAT32.tiny


def _softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + x.abs().neg().exp().log1p()


def _gelu_tanh(x: Tensor) -> Tensor:
    """(1 + tanh z) / 2 is sigmoid(2 z), which loses nothing where tanh is near -1."""
    return x * torch.sigmoid((x + x * x * x * 0.044715) * (2 * sqrt(2 / pi)))


def _elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x.clamp(max=0).expm1())


def _selu(x: Tensor) -> Tensor:
    return GAMMA * torch.where(x > 0, x, ALPHA * x.clamp(max=0).expm1())


def _gelu(x: Tensor) -> Tensor:
    return x * torch.erfc(x * -sqrt(0.5)) * 0.5


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def _hard_swish(x: Tensor) -> Tensor:
    return x * (x / 6 + 0.5).clamp(0, 1)


def _scrambled(x: Array) -> Array:
    """Another float32 for each, all of them in turn."""
    return (x.view(np.uint32) * np.uint32(2654435761)).view(np.float32)


def _mp_elu(x: Any) -> Any:
    return x if x > 0 else mp.expm1(x)


def _mp_selu(x: Any) -> Any:
    return mp.mpf(GAMMA) * (x if x > 0 else mp.mpf(ALPHA) * mp.expm1(x))


def _mp_softplus(x: Any) -> Any:
    return max(x, 0) + mp.log1p(mp.exp(-abs(x)))


def _mp_sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _mp_gelu_tanh(x: Any) -> Any:
    return x * _mp_sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3))


def _mp_mish(x: Any) -> Any:
    """tanh(log(1 + n)) is (n n + 2 n) / (n n + 2 n + 2)."""
    n = mp.exp(min(x, 100))
    return x * (n * n + 2 * n) / (n * n + 2 * n + 2)


def _power(exponent: float) -> Deployed:
    def power(x: Tensor) -> Tensor:
        return x.pow(exponent)

    return Deployed(
        f"Pow {exponent:g}", "Pow", power, lambda x: x**exponent, power, positive=True, constant=exponent
    )


def _mp_hard_swish(x: Any) -> Any:
    return x * max(0, min(1, x / 6 + mp.mpf(1) / 2))


_quotient = partial(Deployed, relative=UNIT, algebraic=True, increasing=False)
_valley = partial(Deployed, scaled=True, increasing=False)

FUNCTIONS: Mapping[str, Deployed] = {
    function.name: function
    for function in (
        Deployed("Exp", "Exp", torch.exp, mp.exp, torch.exp),
        Deployed("Log", "Log", torch.log, mp.log, torch.log, ABSOLUTE, positive=True),
        Deployed("Tanh", "Tanh", torch.tanh, mp.tanh, torch.tanh, ABSOLUTE),
        Deployed("Sigmoid", "Sigmoid", torch.sigmoid, _mp_sigmoid, torch.sigmoid, ABSOLUTE),
        Deployed("Erf", "Erf", torch.erf, mp.erf, torch.erf, ERF_ABSOLUTE),
        Deployed("Sqrt", "Sqrt", torch.sqrt, mp.sqrt, torch.sqrt, relative=UNIT, algebraic=True, positive=True),
        Deployed("Softplus", "Softplus", _softplus, _mp_softplus, F.softplus, ABSOLUTE),
        _quotient("Reciprocal", "Reciprocal", torch.reciprocal, lambda x: 1 / x, torch.reciprocal),
        _quotient("Div", "Div", torch.div, lambda x, y: x / y, torch.div, second=_scrambled),
        Deployed("Softsign", "Softsign", F.softsign, lambda x: x / (1 + abs(x)), F.softsign, ABSOLUTE),
        Deployed("Elu", "Elu", _elu, _mp_elu, F.elu, 2 * ABSOLUTE),
        Deployed("Celu", "Celu", _elu, _mp_elu, F.celu, 2 * ABSOLUTE),
        Deployed("Selu", "Selu", _selu, _mp_selu, F.selu, 2 * GAMMA * ALPHA * ABSOLUTE),
        _valley("Gelu", "Gelu", _gelu, lambda x: x * mp.ncdf(x), F.gelu, GELU_ABSOLUTE, opset=20),
        _valley(
            "Gelu (tanh)", "Gelu", _gelu_tanh, _mp_gelu_tanh, partial(F.gelu, approximate="tanh"), ABSOLUTE,
            {"approximate": "tanh"}, opset=20,
        ),
        _valley("Mish", "Mish", lambda x: x * torch.tanh(_softplus(x)), _mp_mish, F.mish, ABSOLUTE, opset=18),
        _valley("Swish", "Swish", _swish, lambda x: x * _mp_sigmoid(x), F.silu, ABSOLUTE, opset=24),
        _valley("HardSwish", "HardSwish", _hard_swish, _mp_hard_swish, F.hardswish, ABSOLUTE),
        _power(0.5), _power(2.0), _power(2.5), _power(8.0),
    )
}  # fmt: skip
