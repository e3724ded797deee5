"""Activations that no float32 implementation computes correctly rounded.

This is the one place where something is assumed of the deployed implementation that IEEE does not promise: its
result differs from the true value f(x), for the float32 x that it is given, by at most 15 u |f(x)| (7.5 units in
the last place; u = 2^-24) plus an absolute term:

    Exp, Sqrt, Pow                                           none
    Sigmoid, Tanh, Erf, Softplus, Softsign, Log              2^-21 (Erf 2^-22)
    Elu, Selu, Celu                                          2^-21 max(1, 2 gamma alpha)
    Gelu, Mish, Swish, HardSwish, each as a whole            2^-21 |x| (Gelu by the error function 7/4 of it)

The absolute terms pay for implementations that compute exp(x) and then add or subtract 1, or that clamp their
argument, and 2^-100 is allowed for underflow. None is assumed to round correctly or to be monotone: nor the square
root, which PyTorch rounds wrongly on processors without AVX-512. `goodcert bench transcendental` tries the float32
inputs of every function here, all of them where time allows, with ONNX Runtime and PyTorch, and a thousandth in
every lane of a vector and in its remainder (docs/transcendental.md says what was tried and what of the allowance
was needed); the tests try some thousands. A runtime that approximates more coarsely, on purpose or by a compiler's
fast-math, is not covered.

f itself is evaluated at the ends in float64 (whose error of a few 2^-53 vanishes beside the margin), and the
result is rounded once to float32, which costs at most 2^-24 relatively: `RELATIVE`, 16 u, includes it. The error
function alone may be one of float32 (`erf`): ours is then in error by up to 2^-22, and by 2^-23 |x| in Gelu, which
the deployed one may not take. As the true f is monotone between the ends and the bottom, no monotonicity of the
deployed one is needed.
"""

from collections.abc import Callable
from math import pi, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert.bounds.elementwise import undefined_where
from goodcert.bounds.graph import Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import Rounding
from goodcert.bounds.rule import Constants, Make, Transform, constant_of, number, require

RELATIVE = 2.0**-20
DEPLOYED = 15 * 2.0**-24
"""The share of |f(x)| that a kernel may err by."""

ABSOLUTE = 2.0**-21
"""For functions around 1 in size."""

ERF_ABSOLUTE, GELU_ABSOLUTE = ABSOLUTE - 2.0**-22, 2 * ABSOLUTE - 2.0**-23
"""What a kernel of Erf, and one of Gelu a unit of |x|, may take of `ABSOLUTE` and of twice as much: the rest pays
for `erf` here. Of `ABSOLUTE` alone PyTorch's Gelu would leave next to nothing (docs/transcendental.md)."""

Function = Callable[[Tensor], Tensor]


def increasing(function: Function, absolute: float = ABSOLUTE) -> Make:
    """The rule of an operator without parameters that never decreases."""
    return lambda node, inputs, rounding: _ends(function, absolute, rounding)


def _ends(function: Function, absolute: float, rounding: Rounding) -> Transform:
    return lambda x: _outward(function(x.lower.double()), function(x.upper.double()), absolute, rounding)


def _outward(lower: Tensor, upper: Tensor, absolute: Tensor | float, rounding: Rounding) -> Interval:
    if rounding.unit == 0:
        return Interval(lower.float(), upper.float())
    margin = absolute + rounding.tiny
    low, high = lower - (lower.abs() * RELATIVE + margin), upper + (upper.abs() * RELATIVE + margin)
    return Interval(low.float(), high.float())


def _valley(function: Function, bottom: float, absolute: float, rounding: Rounding) -> Transform:
    """For a function that falls up to `bottom` and rises from there, with an error of `absolute` |x|. An inexact
    bottom costs the square of its error, 2^-100."""

    def transform(x: Interval) -> Interval:
        low, high = x.lower.double(), x.upper.double()
        at = low.maximum(torch.full_like(low, bottom)).minimum(high)
        upper = function(low).maximum(function(high))
        return _outward(function(at), upper, x.magnitude.double() * absolute, rounding)

    return transform


# --- increasing ---------------------------------------------------------------------------------------


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def softplus(x: Tensor) -> Tensor:
    return x.clamp(min=0) + (1 + (-x.abs()).exp()).log()


def softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def erf(x: Tensor) -> Tensor:
    """float32 where runtimes know no other, in error by at most half of `ABSOLUTE`, of which the deployed one
    then has the other half."""
    return torch.erf(x.float()).double()


def log(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    ends = _ends(torch.log, ABSOLUTE, rounding)
    return lambda x: undefined_where(x.lower <= 0, ends(x))


def square_root(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    ends = _ends(torch.sqrt, 0.0, rounding)
    return lambda x: undefined_where(x.lower < 0, ends(x))


def elu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """x, or alpha (exp(x) - 1) below 0."""
    return _exponential(node, number(node, "alpha", 1.0), 1.0, 1.0, rounding)


def selu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    gamma = number(node, "gamma", 1.0507010221481323)
    return _exponential(node, number(node, "alpha", 1.6732631921768188), gamma, 1.0, rounding)


def celu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    alpha = number(node, "alpha", 1.0)
    return _exponential(node, alpha, 1.0, alpha, rounding)


def _exponential(node: Node, alpha: float, gamma: float, width: float, rounding: Rounding) -> Transform:
    """gamma times x, or times alpha (exp(x / width) - 1) below 0; increasing when none of them is negative."""
    require(node, alpha >= 0 and gamma >= 0 and width > 0, "parameters that are not negative")

    def function(x: Tensor) -> Tensor:
        return gamma * (x.clamp(min=0) + alpha * ((x.clamp(max=0) / width).exp() - 1))

    return _ends(function, ABSOLUTE * max(1.0, 2 * gamma * alpha), rounding)


def power(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """x to one constant exponent: increasing for odd ones, a valley at 0 for even ones, and for fractions, which
    know no negative x, increasing from 0 on."""
    exponent = constant_of(node, inputs[1])
    require(node, exponent.numel() == 1 and exponent.is_floating_point(), "one exponent in float32")
    p = float(exponent)
    require(node, 0 < p <= 8, "an exponent in (0, 8]")  # repeated products still err by less than RELATIVE

    def transform(x: Interval) -> Interval:
        low, high = x.lower.double(), x.upper.double()
        if p % 2 == 0:
            nearest = low.maximum(torch.zeros_like(low)).maximum(-high)
            low, high = nearest, low.abs().maximum(high.abs())
        ends = _outward(low**p, high**p, 0.0, rounding)
        return ends if p % 1 == 0 else undefined_where(x.lower < 0, ends)

    return transform


# --- with one valley ----------------------------------------------------------------------------------

GELU_BOTTOM, GELU_TANH_BOTTOM = -0.7517915246935645, -0.7524614220710162
MISH_BOTTOM, SWISH_BOTTOM = -1.192431214515495, -1.278464542761074


def gelu(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    if node.attributes.get("approximate", "none") == "tanh":
        return _valley(_gelu_tanh, GELU_TANH_BOTTOM, ABSOLUTE, rounding)
    return _valley(_gelu, GELU_BOTTOM, 2 * ABSOLUTE, rounding)


def _gelu(x: Tensor) -> Tensor:
    return x * (1 + erf(x * _double(sqrt(0.5)))) * 0.5


def _gelu_tanh(x: Tensor) -> Tensor:
    return x * (1 + torch.tanh((x + x * x * x * _double(0.044715)) * _double(sqrt(2 / pi)))) * 0.5


def _double(value: float) -> Tensor:
    """A number that float32 does not hold, kept whole by exporters as well."""
    return torch.tensor(value, dtype=torch.float64)


def mish(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    return _valley(lambda x: x * torch.tanh(softplus(x)), MISH_BOTTOM, ABSOLUTE, rounding)


def swish(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    alpha = number(node, "alpha", 1.0)
    require(node, alpha > 0, "a positive alpha")
    return _valley(lambda x: x * sigmoid(x * alpha), SWISH_BOTTOM / alpha, ABSOLUTE, rounding)


def hard_swish(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """x max(0, min(1, x / 6 + 1/2)), lowest at -3/2."""
    return _valley(lambda x: x * F.relu(x / 6 + 0.5).clamp(max=1), -1.5, ABSOLUTE, rounding)


# --- softmax ------------------------------------------------------------------------------------------


def softmax(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """A share p_i = exp(x_i) / sum exp(x_j) grows with x_i and falls with every other x_j.

    Deployed: fl(x_i - max) errs by u |x_i - max|, at most 104 u before the share is below 2^-149 (which `tiny`
    covers); the exponential by 16 u; the sum of k terms by (16 + k) u and, as d exp(-d) <= 1/e, by k u / e from
    its differences; the quotient by u. Altogether below gamma of 256 + 4 k roundings.
    """
    axis = node.attributes.get("axis", -1)

    def transform(x: Interval) -> Interval:
        (low_own, low_sum), (high_own, high_sum) = _shares(x, axis)
        low, high = low_own / low_sum, high_own / high_sum
        high = torch.where(high_sum > 0, high, torch.ones_like(high))  # ends too far apart for float64
        margin = rounding.gamma(256 + 4 * int(x.lower.shape[axis]))
        low, high = low - low * margin - rounding.tiny, high + high * margin + rounding.tiny
        return Interval(low.float(), high.float())

    return transform


def log_softmax(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """The logarithm of the same shares: (x_i - max) - log of the sum, or x_i - (max + log of the sum).

    Deployed: the sum of k terms errs by (16 + 1.4 k) u relatively, so its logarithm does absolutely; that adds
    16 u log k + 8 u of its own; all of it is below gamma of 64 + 4 k. x_i - max, or max + log, errs by 2 u |x|max,
    and the last subtraction relatively.
    """
    axis = node.attributes.get("axis", -1)

    def transform(x: Interval) -> Interval:
        (_, low_sum), (_, high_sum) = _shares(x, axis)
        top = x.upper.double().amax(axis, keepdim=True)
        low = x.lower.double() - top - low_sum.log()
        high = (x.upper.double() - top - high_sum.log()).clamp(max=0)
        size = x.magnitude.double().amax(axis, keepdim=True)
        margin = size * (2 * rounding.unit) + rounding.gamma(64 + 4 * int(x.lower.shape[axis]))
        return _outward(low, high, margin, rounding)

    return transform


def _shares(x: Interval, axis: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """((own, sum) of the lower end, of the upper): exp(x_i) and the whole sum, over exp of the largest end.

    The sum of k terms is own + (all - i-th), where the difference may err by (k + 1) 2^-53 of all: it is taken
    k 2^-52 of all in the safe direction. A sum so small that float64 may have lost whole terms is taken for 0:
    such a share can be anything up to 1.
    """
    top = x.upper.double().amax(axis, keepdim=True)
    low, high = (x.lower.double() - top).exp(), (x.upper.double() - top).exp()
    all_low, all_high = low.sum(axis, keepdim=True), high.sum(axis, keepdim=True)
    error = int(x.lower.shape[axis]) * 2.0**-52
    with_low = low + (all_high - high) + all_high * error
    with_high = high + ((all_low - low) - all_low * error).clamp(min=0)
    lost = with_high.sqrt().sqrt().sqrt() < 2**-100  # below 2^-800, a number that exporters would not keep
    with_high = torch.where(lost, 0.0, with_high)
    return (low, with_low), (high, with_high)
