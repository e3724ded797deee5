"""Backward linear bounds (CROWN; Zhang et al., Efficient neural network robustness certification with general
activation functions, NeurIPS 2018), covering the rounding of the deployed float32 model and our own.

A row A of coefficients is carried from the output back to the image, so that

    target <= A v + e        for every run of the network on the box,

where v is the value of a layer, first the output and at last the image. All boxes of values that a ReLU reads are
made the same way, layer after layer, and intersected with those of interval propagation (full CROWN).

**What a run is.** Either real arithmetic, or any IEEE float32 evaluation. In both cases an affine layer gives

    z = W a + b + delta,   |delta| <= gamma(n) (|W||a| + |b|) + eta,                      (1)

with delta = 0, or by step 1 of rounding.py, where eta < 2^-104; ReLU and reshapes are exact. (For elementwise
affine maps, too: n and what stands for |b| are those of rounding.py.) delta is one more bounded input of each
neuron. So whatever is proven from (1) in real arithmetic holds for the deployed model itself, in any order of
summation: no statement about the real-valued network has to be carried over to it.

**Ours.** We compute in float64, u = 2^-53. Let x_max be the larger end of a in size, S = |W| x_max + |b|, and

    D = (gamma(n) + rho) S + 2^-100,       rho = 2^-30.

*Intervals.* With mu, r the centre and radius of a's box,  z in W mu + b +- (|W| r + D).
*Affine, backward.* A z + e = (A W) a + A b + A delta + e <= A' a + e', where A' = fl(A W) and

    e' = fl(e + A b + |A| D).

*ReLU, backward*, a = max(z, 0), z in [L, U]. Where L >= 0, a = z; where U <= 0, a = 0. Else for A > 0 the line
a <= s (z - L) is above, as the chord is when s >= U / (U - L), and for A < 0 the line a >= t z is below, for any
t in [0, 1]. Every bound is computed twice and the better one taken: with t = 1 where U >= -L, else 0, which leaves
the smaller area (the adaptive choice of the paper), and with t = 0, which networks trained with interval bounds
like better. With
A' = fl(A s) or A t,

    e' = fl(e + sum over A > 0 of A' (-L) + |A'| rho M),     M = max(|L|, |U|).

s = fl(U / fl(U - L)) (1 + 2^-50) is above the chord: three roundings cost less than 4u.
*Image*, v in [l, h]:  target <= fl(e + A+ h + A- l + |A| rho |v|_max) + 2^-100.

**Why rho pays for float64.** `chain_of` admits at most 2^19 numbers in a value and in the sum of a neuron, so no
path through a product has more than m = 2^20 roundings (a transposed convolution: as many as outputs plus kernel
positions), and it errs by 1.01 m u < 2^-32.98 of its absolute values, in any order, fused or not (Higham, section
3.1). e is a sum of fewer than 2^12 numbers (1000 steps), which costs 2^-41 of their absolute values.
- Intervals: W mu + b, |W| r and S each err by at most 2^-32.98 S, as |mu| and r are at most x_max (1 + u); centre,
  radius and the two ends by a few u of 3 S. Together below 2^-31.2 S.
- Affine: |A' - A W||a| <= 2^-32.98 |A||W| x_max, and A b errs by 2^-32.98 |A||b|, in sum at most 2^-32.98 |A| S;
  |A| D errs by 2^-31.9 of itself, and gamma <= 1/15; e' by 2^-41 of all terms. Together below 2^-31.8 |A| S.
- ReLU: |A' - A s||z - L| <= 2.1 u |A'| M, and the sum of A' (-L) errs by 2^-32.98 |A'| M: below 2^-32.9 |A'| M.
- Image: below 2^-32.9 |A||v|_max.
All are less than half of the share rho = 2^-30 that D, and the last term of each e', hold for them; the other half
pays for the roundings of that share itself. What A loses in underflow, at most 2^-1022 for each of fewer than 2^60
operations, meets values below 2^93 (rounding.py, "No overflow") and enters e, which is never multiplied: far below
the 2^-100 of the image step. Overflow gives infinities and NaN, which are taken for no bound at all. U is never so
small that s underflows: it is the sum of a number of at least 2^-100 and another, so it is 0 or above 2^-160.

**The induction.** The box of the image holds every point of the ball (ball.py). If a's box holds every run, then
so does z's by intervals; x_max, L and U are those of boxes made before. A linear bound only uses boxes that hold,
so its result holds, and so does the intersection of two that hold.

The margins are f_k - f_l at the output, all K^2 - K rows: A = e_k - e_l, in which |A| D is the sum of what the two
logits, rounded each for itself, can lose.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from goodcert.bounds.chain import Affine, Chain, Relu
from goodcert.bounds.interval import Interval
from goodcert.bounds.rounding import FLOAT32, Rounding

RHO = 2.0**-30
CHUNK = 2**22
"""Numbers in the largest array of one step: rows of coefficients are taken back that many at once (32 MiB; four
such arrays live at a time, so an image takes up to 128 MiB; the engine bounds one in each of its threads)."""
MAX_COST = 2**35
"""Products for one image in the worst case, all neurons open: some ten seconds of a CPU core. The S networks need
2^30 to 2^32; M would need 2^37, L 2^43."""


@dataclass(frozen=True)
class AffineStep:
    """An affine map with D, (outputs,), for the box that its input has."""

    map: Affine
    margin: Tensor

    def back(self, rows: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        return self.map.back(rows), rest + rows @ self.map.bias + rows.abs() @ self.margin


@dataclass(frozen=True)
class ReluStep:
    """Slopes above and below, -L where the sign is open, and rho M; each is (n,)."""

    above: Tensor
    below: Tensor
    offset: Tensor
    margin: Tensor

    @classmethod
    def on(cls, box: Interval, share: float) -> "ReluStep":
        """share: rho, or 0 where no rounding is to be covered."""
        lower, upper = box
        active, open_ = (lower >= 0).double(), (lower < 0) & (upper > 0)
        width = torch.where(open_, upper - lower, torch.ones_like(upper))
        above = torch.where(open_, upper / width * (1 + 2**-50), active)
        below = torch.where(open_, (upper >= -lower).double(), active)
        offset = torch.where(open_, -lower, torch.zeros_like(lower))
        return cls(above, below, offset, box.magnitude * share)

    def flat(self) -> "ReluStep":
        """With the slope 0 below wherever the sign is open."""
        return replace(self, below=torch.where(self.offset > 0, torch.zeros_like(self.below), self.below))

    def back(self, rows: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        positive = rows.clamp(min=0) * self.above
        rows = positive + rows.clamp(max=0) * self.below
        return rows, rest + positive @ self.offset + rows.abs() @ self.margin


Step: TypeAlias = tuple[AffineStep, AffineStep] | tuple[ReluStep, ReluStep]
"""With the adaptive slopes, and with flat ones."""


class Crown:
    """Bounds for one chain; call it with the box of one image.

    rounding: FLOAT32 for guarantees; EXACT, which leaves every margin out, to show what they are for.
    """

    def __init__(self, chain: Chain, rounding: Rounding = FLOAT32) -> None:
        self._chain, self._tiny = chain, rounding.tiny
        self._share = RHO if rounding.unit else 0.0
        self._gammas = [rounding.gamma(s.terms) if not isinstance(s, Relu) else 0.0 for s in chain.steps]
        self._width = max([chain.outputs, *(s.width for s in chain.steps if not isinstance(s, Relu))])

    def __call__(self, lower: Tensor, upper: Tensor) -> Tensor:
        """(K, K) float64: entry (k, l) bounds f_k - f_l from above on the box, one image in float32 of any shape;
        the diagonal is 0. Infinite where there is no bound."""
        image = Interval(lower.double().flatten(), upper.double().flatten())
        steps, _ = self._walk(image)
        classes = self._chain.outputs
        pairs = (~torch.eye(classes, dtype=torch.bool, device=lower.device)).nonzero()
        margins = image.lower.new_zeros(classes, classes)
        for start in range(0, len(pairs), self._rows):
            k, j = pairs[start : start + self._rows].T
            rows = image.lower.new_zeros(len(k), classes)
            each = torch.arange(len(k), device=lower.device)
            rows[each, k], rows[each, j] = 1.0, -1.0
            margins[k, j] = self._bound(steps, image, rows, rows.new_zeros(len(k)))
        return margins

    def boxes(self, lower: Tensor, upper: Tensor) -> list[Interval]:
        """The boxes of all steps, flat, in order: for looking into a network, not for speed."""
        return self._walk(Interval(lower.double().flatten(), upper.double().flatten()))[1]

    @property
    def _rows(self) -> int:
        return max(1, CHUNK // self._width)

    def _walk(self, image: Interval) -> tuple[list[Step], list[Interval]]:
        """Forward: every step made ready for the boxes that it meets."""
        steps: list[Step] = []
        boxes: list[Interval] = []
        box = image
        for (step, after), gamma in zip(self._chain.pairs(), self._gammas, strict=True):
            if isinstance(step, Relu):
                ready = ReluStep.on(box, self._share)
                steps.append((ready, ready.flat()))
                box = Interval(box.lower.clamp(min=0), box.upper.clamp(min=0))
            else:
                affine = AffineStep(step, self._margin(step, gamma, box))
                box = _interval(affine, box)
                if isinstance(after, Relu) and any(isinstance(s[0], ReluStep) for s in steps):
                    box = self._refined(affine, box, steps, image)
                steps.append((affine, affine))
            boxes.append(box)
        return steps, boxes

    def _margin(self, step: Affine, gamma: float, box: Interval) -> Tensor:
        """D of the theorem."""
        size = step.apply_absolute(box.magnitude[None])[0] + step.size
        return size * (gamma + self._share) + self._tiny

    def _refined(self, last: AffineStep, box: Interval, steps: list[Step], image: Interval) -> Interval:
        """`box`, which `last` gives, intersected with linear bounds where the sign of a neuron is open."""
        lower, upper = box.lower.clone(), box.upper.clone()
        open_ = ((lower < 0) & (upper > 0)).nonzero()[:, 0]
        for start in range(0, len(open_), self._rows):
            index = open_[start : start + self._rows]
            rows, bias, margin = last.map.rows(index), last.map.bias[index], last.margin[index]
            upper[index] = upper[index].minimum(self._bound(steps, image, rows, bias + margin))
            lower[index] = lower[index].maximum(-self._bound(steps, image, -rows, margin - bias))
        return Interval(lower, upper)

    def _bound(self, steps: list[Step], image: Interval, rows: Tensor, rest: Tensor) -> Tensor:
        """(R,) above rows v + rest, v being the value after `steps`; infinite where float64 overflows."""
        adaptive, flat = (self._carried([step[i] for step in steps], image, rows, rest) for i in (0, 1))
        return adaptive.minimum(flat)

    def _carried(
        self, steps: Sequence[AffineStep | ReluStep], image: Interval, rows: Tensor, rest: Tensor
    ) -> Tensor:
        for step in reversed(steps):
            rows, rest = step.back(rows, rest)
        ends = rows.clamp(min=0) @ image.upper + rows.clamp(max=0) @ image.lower
        bound = rest + ends + rows.abs() @ (image.magnitude * self._share) + self._tiny
        return torch.where(bound.isfinite(), bound, torch.full_like(bound, torch.inf))


def _interval(step: AffineStep, box: Interval) -> Interval:
    mu = box.centre
    centre = step.map.apply(mu[None])[0] + step.map.bias
    reach = step.map.apply_absolute(box.radius(mu)[None])[0] + step.margin
    return Interval(centre - reach, centre + reach)


def cost(chain: Chain) -> int:
    """Products for one image in the worst case, with both slopes."""
    below, total, rectified = 0, 0, False
    for step, after in chain.pairs():
        if isinstance(step, Relu):
            rectified = True
            continue
        if isinstance(after, Relu) and rectified:
            total += 2 * len(step.bias) * below
        below += step.cost
    return 2 * (total + chain.outputs**2 * below)
