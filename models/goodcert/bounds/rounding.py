"""How far float32 arithmetic can stray from real arithmetic, and the inflation that pays for it.

Let l, h be float32 boxes such that every activation x of the layer, as real arithmetic gives it and as the
deployed model computes it in float32, lies in [l, h]. The rules must produce boxes with the same property.
Write u = 2^-24, gamma = n u / (1 - n u) for n <= 2^20 (so that gamma <= 1/15 and u <= gamma / n).

**Affine layers.** y = W x + b with `fan_in` products per output; n = fan_in + 1.

1. Deployed. A product is rounded at most once, and each of the fan_in + 1 terms passes at most fan_in
   additions, in whatever order, fused or not; so (Higham, Accuracy and Stability of Numerical Algorithms,
   2nd ed., section 3.1)  |fl(W x + b) - (W x + b)| <= gamma (|W||x| + |b|) + eta.  eta collects underflow:
   each product and each sum may lose 2^-126 where subnormal results are flushed to zero (2^-150, and
   products only, where they are not), hence eta <= 2^21 (1 + gamma) 2^-126 < 2^-104.
2. Ours. With mu = fl(l + h) / 2, and r* = max(h - mu, mu - l) the exact radius around it, we compute
       m    = fl(W mu + b),             |m - (W mu + b)| <= gamma (|W||mu| + |b|) + eta,
       rho  with  f rho >= (1 - u)^3 (A r* + B |mu|) - 2^-123,   f below,
       R    = fl(V rho + beta)          >= (1 - gamma) (f |W| rho + beta) - eta,   V >= f |W|,
       l', h' = fl(m - R), fl(m + R),   each off by at most u (|m| + R).
3. Needed. For every x in the box, by 1. and by |W x - W mu| <= |W| r*,
       fl(W x + b) >= m - (1 + gamma) |W| r* - 2 gamma (|W||mu| + |b|) - 2 eta,
   so l' is a lower end as soon as
       (1 - u) R >= (1 + gamma) |W| r* + (2 gamma + u (1 + gamma)) (|W||mu| + |b|) + 3 eta.
   Insert 2. and compare the factors of |W| r*, of |W||mu|, of |b| and what is left. Sufficient are
       (1 - gamma)(1 - u)^4 A     >= 1 + gamma
       (1 - gamma)(1 - u)^4 B     >= 2 gamma + u (1 + gamma)
       (1 - gamma)(1 - u) beta    >= (2 gamma + u (1 + gamma)) |b| + 4 eta + |W| 2^-123.
   With A = 1 + c gamma, B = c gamma, beta = c gamma |b| + 2^-100 and
       c(n) = 2 + 8/n + 4 gamma
   all three hold: the first asks for c >= 2/(1 - gamma) + (5/n)(1 + 2 gamma/(1 - gamma)), at most
   2 + 2.15 gamma + 5.8/n; the second and the third for at most 2 + 2.15 gamma + 1.7/n; 4 eta is
   below 2^-102, and |W| 2^-123 below 2^-103 because the engine admits no row of |W| that sums to more than
   2^20 (`MAX_ROW_SUM`).
   The upper end is the mirror image. V and beta are rounded up to float32.
4. The radius path, `reach` and `stretch`. f = (A + B + 2u)/2 is a factor of the weights, where it costs nothing.
   In general r = fl(max(h - mu, mu - l)) has r (1 + u) >= r* (float subtraction has no underflow error), and
       rho = fl(fl(r a) + fl(b |mu|)),   a >= A / f,  b >= B / f,
   keeps (1 - u)^2 of it: 2. holds. Where 0 <= l, as behind a Relu, two operations do. There
       r* <= (h - l)/2 + u (l + h)/2   and   |mu| <= (1 + u)(l + h)/2,   so
       A r* + B |mu| <= (A (h - l) + (B + 2u)(h + l))/2 = f (h - k l),   k = (A - B - 2u)/(A + B + 2u),
   as A <= 1.2 and B <= 0.2. With a float32 number k' <= k (1 - 2u), fl(k' l) <= k l and
       rho = fl(h - fl(k' l)) >= (1 - u)(h - k l),
   fused or not, up to 2^-149 where a product underflows: 2. holds again.

The real-valued y satisfies the same inequalities with its own rounding error set to 0.

**Average pooling** (AveragePool, GlobalAveragePool) is the affine layer with weights 1/k, k the values that
count: at most k - 1 additions, and one division (two roundings), or one multiplication and the reciprocal (three
together); in our radius the factor f and the addition of 2^-100: n = k + 4 covers it. A window without a value
gives NaN, which no graph is admitted with.

**Roots, reciprocals and divisions**: IEEE asks that they be correctly rounded, but libraries approximate and
refine, or ask a processor for less. Roots of PyTorch in float32 are off by a unit in the last place on processors
without AVX-512, so ours run in float64. Of a deployed root, reciprocal or division an error of one unit in the
last place, 2u, is allowed for wherever one occurs: it counts as two roundings.

**Batch normalization** that stands alone is an elementwise affine map whose parts are |scale x|, |beta| and |mean
scale|. In any arrangement the path through variance + epsilon (which counts half, under the root), the root, the
division or reciprocal, and at most 4 products and sums has at most 9 roundings; with 3 more in our scale, shift
and sum, n = 12 (`norm.ROUNDINGS`) covers it, with |beta| + |mean scale| in the place of |b|. norm.py refuses
statistics under which an intermediate result of some arrangement could underflow by more than the allowance, or
overflow.

**Fused layers** (fusion.py). Let layers and elementwise affine operators behind them be, in real arithmetic, one
map y = W* x + b*, where b* is a sum of parts whose absolute values, each times what it passes, add up to `size`.
It may be deployed as it is written, or with any of the scales multiplied into the weights and any of the parts
added up first, or with the sum of the layer started from what is added behind it; each time every product and
every part passes at most n roundings, where n is fan_in + 1 and the `roundings` of the node. So step 1 holds with
|W*| and `size`:  |fl(y) - y| <= gamma (|W*||x| + size) + eta.  What a scale s makes of the underflow before it, at
most s 2^-104, is below the share c gamma >= 2^-21 of s 2^-80, which is in `size`. A fold of ours gives W' and b',
rounded once: |W' - W*| <= k u |W*| where no weight is subnormal or overflows, which fusion.py asks for, and k <=
1.01, or what was measured for a constant that is computed; |b' - b*| <= (u + 2^-50) size. These count as 2k more
roundings: k in m of step 2, and k for V >= f |W'| where f |W*| is needed, as (1 - gamma)(1 - u)^4 (1 - k u) A >= 1
+ gamma holds with the gamma of n = fan_in + 1 + roundings, c gamma being larger than for the deployed n by 2 k u.
An operator that is not folded and adds to a layer's result, a branch or a constant, is bounded as the sum of n
terms that a runtime may make of it (`spread`, below, with the sizes of both operands).

**Elementwise sums and products with a constant or between branches** are one correctly rounded, hence monotone,
operation: the deployed result lies between the rounded results at the ends. The real result can lie half an ulp
further out; `widen` steps 4u outward, of which at least 2u are left after its own two roundings, and 2^-100 for
underflow. Quotients and reciprocals step 8u outward: 2u each for ours and for the deployed one, and more than 2u
for the two roundings of `widen`. Products and quotients (by a divisor that keeps its sign) are monotone in each
operand, so their extremes are at corners; x x has its least value at 0. LeakyRelu and PRelu are linear on both
sides of 0 whatever the sign of the slope, so their extremes are at the ends and at 0. HardSigmoid is a line with
two roundings, spread by c(4) gamma (|alpha x| + |beta|), between exact limits. Two operators that a compiler
contracts into one fused multiply-add are covered as well: a rule takes any real number of its box, rounded before
or not.

**Plain sums** (Sum, Mean, ReduceSum, ReduceMean, ReduceL1) of n - 2 or fewer terms: ours and the deployed one err
by gamma sum |x| each, and `spread` steps c(n) gamma fl(sum |x|) outward, where c(n) >= 2/(1 - gamma) + 4/n pays
for both, for the error of fl(sum |x|) and for its own two roundings. Means have up to three more roundings, which
n counts. ReduceSumSquare sums the boxes of the squares, which hold them rounded or not. ReduceL2 takes the root
of that box, cut off at 0, in float64 and widens it by 8u: 2u are ours, with the rounding to float32 and that of
`widen`, 2u the deployed root's, and the rest is for one that scales first.

**Transcendental functions** (transcendental.py) rest on an assumption, not on IEEE: the deployed value is within
15 units u |f| and an absolute term of f. f is taken at the ends in float64, or at the bottom of its valley; what
is rounded to float32 then costs the 16th unit. Roots off by a unit in the last place, and powers up to 8 of at
most 7 products, are inside the same margin. Softmax, LogSoftmax and ReduceLogSumExp are derived there and in
reductions.py from the margins of the exponential and the logarithm, for up to 2^18 terms.

**Exact and monotone** are Relu, Clip, Max, Min, the pools and reductions of maxima (pads are -infinity), Abs and
Neg piece by piece, and every movement of data (Pad with its constant, Where by a constant condition, Concat,
Gather, ...): the ends map to the ends, or to each other. So are Floor, Ceil, Round, Sign and ThresholdedRelu: at
a jump the deployed x may stand on the other side than the real one, but the box holds both.

**Constants** alone are computed once, before, each operation correctly rounded (passes.py, for Add, Sub, Mul,
Div; a test watches PyTorch's division), how far they are from real arithmetic is counted as above, or they stand
for boxes of one point. The last layer is fused into differences
in float64: confidence.py. The box of the input, and the way from the upload to it: ball.py and
`goodcert.images.preprocess`.

**No overflow.** All of this needs finite arithmetic. No partial sum exceeds (1 + gamma)(|W|(|mu| + r) + |b|).
The engine bounds the whole pixel cube once at load and admits only models whose every activation stays below
`MAX_MAGNITUDE` = 2^70 there. As the radius of an affine layer is at least (1 - gamma)(c gamma |W||mu| + |W| r +
c gamma |b|), with c gamma >= 2^-21 as n >= 2, that keeps |W|(|mu| + r) + |b| below 2^93; and boxes inside the
cube have activations inside those of the cube, up to their margins. In the same way `spread` keeps sum |x| below
2^92 (2^112 for the sum under a mean). What a rule computes on the way (the squares of a norm) is float32 too,
and overflows with the deployed one. For any other model the bound is 1.

What this does not cover: kernels that are no sums of products (Winograd, FFT) and products of shortened operands
(TF32, bfloat16). `goodcert.engine.checks.kernel_check` looks for those on the device. Nor systems that read
subnormal operands as zero: subnormal results may be flushed, but a subnormal weight times 2^60 is no underflow.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from goodcert.bounds.interval import Interval, Nonnegative

MAX_TERMS = 2**20
MAX_ROW_SUM = 2.0**20
MAX_MAGNITUDE = 2.0**70


class TooManyTerms(ValueError):
    """A sum with more roundings than the theorem covers."""


@dataclass(frozen=True)
class Rounding:
    """The arithmetic to be covered. unit: unit roundoff; tiny: absolute allowance for underflow."""

    unit: float
    tiny: float

    def gamma(self, terms: int) -> float:
        """n u / (1 - n u) for n roundings on a path. Raises TooManyTerms past the range of the proof."""
        if terms > MAX_TERMS:
            raise TooManyTerms(f"got {terms} roundings on one path, expected at most {MAX_TERMS}")
        return terms * self.unit / (1 - terms * self.unit)

    def slack(self, terms: int) -> float:
        """c(n) gamma: the share of |mu| and |b| that the radius grows by."""
        gamma = self.gamma(terms)
        return (2 + 8 / terms + 4 * gamma) * gamma

    def stretch(self, weight: Tensor, terms: int) -> Tensor:
        """V >= f |W| of the theorem, rounded up. At most one copy of the weights is made, which may be large."""
        if self.unit == 0:
            return weight.abs() * 0.5
        stretched = weight.abs().mul_(float32_above(self._half_sum(terms) * (1 + 2 * self.unit)))
        if bool(((stretched < 2.0**-120) & (weight != 0)).any()):  # subnormal numbers do not round relatively
            above = torch.nextafter(stretched, torch.full_like(stretched, torch.inf))
            stretched = torch.where(weight != 0, above, stretched)
        return stretched

    def reach(self, x: Interval, terms: int) -> Tensor:
        """rho of the theorem: what `stretch` times it covers is the radius of x and all rounding."""
        if self.unit == 0:
            return x.upper - x.lower
        half_sum, slack = self._half_sum(terms), self.slack(terms)
        if isinstance(x, Nonnegative):
            return x.upper - x.lower * -float32_above(-((1 - 2 * self.unit) ** 2) / (2 * half_sum))
        mu = x.centre
        return x.radius(mu) * float32_above((1 + slack) / half_sum) + mu.abs() * float32_above(slack / half_sum)

    def _half_sum(self, terms: int) -> float:
        """f = (A + B + 2u) / 2, with room for its own rounding in float64."""
        return (0.5 + self.slack(terms) + self.unit) * (1 + 2**-50)

    def bias_radius(self, bias: Tensor, terms: int) -> Tensor | None:
        """beta = c gamma |b| + 2^-100 of the theorem, rounded up; None where nothing is to be covered."""
        if self.unit == 0:
            return None
        exact = bias.double().abs() * self.slack(terms) + self.tiny
        return torch.nextafter(exact.float(), torch.tensor(torch.inf, device=bias.device))

    def widen(self, lower: Tensor, upper: Tensor, operations: int = 1) -> Interval:
        """Outward by what so many correctly rounded operations on one value can cost, each relative to it."""
        if self.unit == 0:
            return Interval(lower, upper)
        step = 4 * operations * self.unit
        return Interval(lower - (lower.abs() * step + self.tiny), upper + (upper.abs() * step + self.tiny))

    def spread(self, lower: Tensor, upper: Tensor, size: Tensor, terms: int) -> Interval:
        """Outward by c(n) gamma of `size`: what sums of n terms can cost whose absolute values add up to it."""
        if self.unit == 0:
            return Interval(lower, upper)
        margin = size * float32_above(self.slack(terms)) + self.tiny
        return Interval(lower - margin, upper + margin)


FLOAT32 = Rounding(unit=2.0**-24, tiny=2.0**-100)
"""The arithmetic of a deployed model: what every certificate must cover."""

EXACT = Rounding(unit=0.0, tiny=0.0)
"""Real arithmetic: plain interval bound propagation, for training and for showing what the margin is for."""


def float32_above(value: float) -> float:
    """A float32 number above `value`, by at most two units in the last place."""
    return float(np.nextafter(np.float32(value), np.float32(np.inf)))
