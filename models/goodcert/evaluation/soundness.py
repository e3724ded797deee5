"""Attempts to break the bounds: networks made to hurt, evaluated in twenty-four ways and in exact arithmetic.

A check is one number (a feature of a layer, a difference of two logits, a confidence) at one point of one box, as
one evaluation computes it, held against the bound. The same evaluations are held against the bounds without the
rounding margin, so that everyone sees that a check can fail.

Exact values come from whole numbers: every float32 is a multiple of 2^-149, so a layer of them is a sum of
products of integers, and Python's have no limit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from goodcert.bounds.ball import round_down, round_up
from goodcert.bounds.classifier import MarginModule, split, training_margins
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.bounds.graph import Graph
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval, Nonnegative
from goodcert.bounds.rounding import EXACT, FLOAT32, Rounding
from goodcert.engine.prediction import confidence
from goodcert.evaluation.hard_networks import NETS, WIDE_NETS, Array, Factory, Layers, box, graph
from goodcert.evaluation.summation_orders import ORDERS, dense

CPU = torch.device("cpu")
WIDTHS = (0.0, 1e-7, 1e-6, 1e-3, 0.25)
POINTS = 8
ALL_NETS = {**NETS, **WIDE_NETS}
_MEMORY = 2**22
"""Products that are held at once."""

_SCALE = 149
"""Every float32 is a whole multiple of 2^-149."""

Numbers: TypeAlias = NDArray[np.float64]


Ends: TypeAlias = tuple[Numbers, Numbers]
"""(lower, upper), float64 (N, M): a value lies between them, or must."""


@dataclass(frozen=True)
class SoundnessRow:
    """What became of the checks of one kind of network. excess: the furthest that a value lay outside, as a share
    of the bound's size; the `plain` ones are those of the bounds without the rounding margin."""

    net: str
    checks: int = 0
    escapes: int = 0
    excess: float = 0.0
    plain_escapes: int = 0
    plain_excess: float = 0.0

    def __add__(self, other: "SoundnessRow") -> "SoundnessRow":
        return SoundnessRow(
            self.net,
            self.checks + other.checks,
            self.escapes + other.escapes,
            max(self.excess, other.excess),
            self.plain_escapes + other.plain_escapes,
            max(self.plain_excess, other.plain_excess),
        )


def _outside(values: Ends, bounds: Ends) -> tuple[int, float]:
    """(how many values lie outside, by how much the worst), of as many as there are. A NaN is outside."""
    lower, upper = (end[:, : values[0].shape[1]] for end in bounds)
    inside = (values[0] >= lower) & (values[1] <= upper)
    beyond = np.maximum(lower - values[0], values[1] - upper)
    share = beyond / np.maximum(np.maximum(abs(lower), abs(upper)), np.finfo(np.float32).tiny)
    return int((~inside).sum()), float(share[~inside].max(initial=0.0))


def attempts(
    nets: Mapping[str, Factory] = ALL_NETS, boxes: int = 10, device: torch.device = CPU
) -> Iterator[SoundnessRow]:
    """One row after the other, for ever: every kind of network in turn, with new weights and boxes each time."""
    for seed in count():
        for place, (kind, factory) in enumerate(nets.items()):
            random = np.random.default_rng([seed, place])
            yield attempt(kind, factory(random), random, boxes, device)


def attempt(
    kind: str, layers: Layers, random: np.random.Generator, boxes: int, device: torch.device = CPU
) -> SoundnessRow:
    """All checks of one network on so many boxes, or fewer where its first layer is large. device: where the
    bounds are computed; the values are computed by NumPy."""
    first, _ = layers[0]
    room = max(1, _MEMORY // (POINTS * first.size))
    ends = [box(random, first.shape[1], random.choice(WIDTHS)) for _ in range(min(boxes, room))]
    lower, upper = (np.stack(side) for side in zip(*ends, strict=True))
    points = _points(lower, upper, first, random)
    sound, plain = (_bounds(layers, lower, upper, rounding, device) for rounding in (FLOAT32, EXACT))
    checked = (
        SoundnessRow(kind, values[0].size, *_outside(values, sound), *_outside(values, plain))
        for values in _values(layers, points)
    )
    return sum(checked, SoundnessRow(kind))


def _points(lower: Array, upper: Array, weight: Array, random: np.random.Generator) -> Array:
    """(boxes * POINTS, F): the ends, the corners where some first feature is largest, and random points."""
    drive = weight[random.integers(len(weight), size=POINTS - 4)]
    share = random.random((2, *lower.shape), dtype=np.float32)
    inside = [np.clip(lower + s * (upper - lower), lower, upper) for s in share]
    corners = [np.where(w > 0, upper, lower) for w in drive]
    return np.stack([lower, upper, *inside, *corners], axis=1).reshape(-1, lower.shape[1])


# --- the bounds ---------------------------------------------------------------------------------------


def _bounds(layers: Layers, lower: Array, upper: Array, rounding: Rounding, device: torch.device) -> Ends:
    """For every point: its box's bounds on all features, on all differences of logits, on the confidence."""
    net = graph(layers).to(device)
    x = Nonnegative(*(torch.from_numpy(end)[:, None, None].to(device) for end in (lower, upper)))
    values = prepare(net, rounding).trace(x)
    ends = [torch.cat([values[f"g{i}"][side] for i in range(len(layers))], dim=1) for side in (0, 1)]
    features = [end.cpu().double() for end in ends]
    margins = (MarginModule(net)(*x) if rounding is FLOAT32 else _plain_margins(net, x)).cpu()
    first, second = np.triu_indices(margins.shape[1], 1)
    differences = -margins[:, second, first], margins[:, first, second]
    bounds = confidence_lower_bound(margins.numpy()), confidence_upper_bound(margins.numpy())
    confidences = [torch.from_numpy(bound)[:, None] for bound in bounds]
    sides = zip(features, differences, confidences, strict=True)
    low, high = (torch.cat(parts, dim=1).numpy().repeat(POINTS, axis=0) for parts in sides)
    return low, high


def _plain_margins(net: Graph, x: Interval) -> Tensor:
    body, weight, bias = split(net)
    return training_margins(prepare(body, EXACT), weight, bias, x, EXACT).double()


# --- the values ---------------------------------------------------------------------------------------


def _values(layers: Layers, points: Array) -> Iterator[Ends]:
    """Every evaluation of the network at the points, in the order of the bounds; the exact one goes without the
    confidence, which follows from the differences."""
    for order in ORDERS.values():
        for fused in (False, True):
            features, x = [], points
            for weight, bias in layers:
                features.append(dense(order, fused, weight, bias, x))
                x = np.maximum(features[-1], np.float32(0))
            logits = features[-1].astype(np.float64)
            numbers = [*features, _differences(logits), confidence(features[-1])[:, None]]
            computed = np.concatenate(numbers, axis=1, dtype=np.float64)
            yield computed, computed
    yield exact_values(layers, points)


def _differences(logits: NDArray[Any]) -> NDArray[Any]:
    """(N, pairs): f_k - f_l for k < l. Of float32 logits in float64 it is exact but for one rounding, which cannot
    carry it past a bound in float64."""
    first, second = np.triu_indices(logits.shape[1], 1)
    return np.asarray(logits[:, first] - logits[:, second])


def exact_values(layers: Layers, points: Array) -> Ends:
    """The features, as float32 numbers below and above, and the differences of the logits, as float64 ones."""
    x, bits, features = whole(points), _SCALE, []
    for weight, bias in layers:
        bits += _SCALE
        y = x @ whole(weight).T + (whole(bias) << (bits - _SCALE))
        features.append(quotients(y, bits))
        x = np.maximum(y, 0)
    parts = [*((round_down(low), round_up(high)) for low, high in features), quotients(_differences(y), bits)]
    low, high = (np.concatenate(side, axis=1, dtype=np.float64) for side in zip(*parts, strict=True))
    return low, high


def whole(values: Array) -> NDArray[Any]:
    """value * 2^149 as Python integers."""
    scaled = np.ldexp(values.astype(np.float64), _SCALE)
    return np.array([*map(int, scaled.ravel().tolist()), None], dtype=object)[:-1].reshape(values.shape)


def quotients(numerators: NDArray[Any], bits: int) -> Ends:
    """float64 numbers at or below, and at or above, numerator / 2^bits."""
    ends = [_quotient(int(value), bits) for value in numerators.ravel()]
    low, high = np.array(ends, dtype=np.float64).reshape(-1, 2).T
    return low.reshape(numerators.shape), high.reshape(numerators.shape)


def _quotient(numerator: int, bits: int) -> tuple[float, float]:
    nearest = numerator / (1 << bits)  # Python rounds the quotient of two integers correctly
    top, bottom = nearest.as_integer_ratio()
    difference = (top << bits) - numerator * bottom
    low = float(np.nextafter(nearest, -np.inf)) if difference > 0 else nearest
    return low, float(np.nextafter(nearest, np.inf)) if difference < 0 else nearest


# --- the report ---------------------------------------------------------------------------------------


def collect(rows: Iterable[SoundnessRow]) -> list[SoundnessRow]:
    """One row a kind of network."""
    kinds: dict[str, SoundnessRow] = {}
    for row in rows:
        kinds[row.net] = kinds.get(row.net, SoundnessRow(row.net)) + row
    return list(kinds.values())


def table(rows: Sequence[SoundnessRow]) -> str:
    """The rows and their sum as a Markdown table."""
    lines = [
        "| network | checks | escapes | largest excess | escapes without the margin | largest excess without |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {r.net} | {r.checks:,} | {r.escapes:,} | {r.excess:.1e} | {r.plain_escapes:,} | {r.plain_excess:.1e} |"
        for r in (*rows, sum(rows, SoundnessRow("all")))
    ]
    return "\n".join(lines)


def page(checks: int, device: str, hardware: str, table: str) -> str:
    """The document of one run."""
    return f"""# Attempts to break the bounds

Made by `goodcert bench soundness --device {device} --checks {checks}` on {hardware}.
It ends with status 1 if a bound is broken.

{table}

A check is one number (a feature of a layer, a difference of two logits, the confidence) at one of {POINTS} points
of a box, held against the certified bound. It is evaluated in float32 in {len(ORDERS)} orders of summation, each
without and with fused multiply-add ({"; ".join(ORDERS)}), and
once in exact arithmetic, on whole numbers; exact confidences are left out, as they follow from the differences.
The last two columns are the same checks with the rounding margin switched off: plain interval bound propagation in
float32. An excess is a share of the bound's size.
"""
