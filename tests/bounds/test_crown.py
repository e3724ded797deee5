"""Backward linear bounds: by hand, beside rational arithmetic, and against what float32 makes of a network."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from exact import Array, dot, evaluations, fused_evaluations, rational
from goodcert.bounds import crown
from goodcert.bounds.chain import Relu, chain_of
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.crown import Crown
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT, FLOAT32, Rounding
from graphs import classifier, onnx_model, run_onnx
from hard_networks import NETS, SIZES, Layers, boxes, graph

KINDS = {**NETS, "mixed": None}


def layers_of(kind: str, random: np.random.Generator) -> Layers:
    if kind != "mixed":
        return NETS[kind](random)
    return [
        (random.standard_normal((o, i)).astype(np.float32), random.standard_normal(o).astype(np.float32))
        for i, o in pairwise(SIZES)
    ]


def dense(*layers: tuple[Any, Any], rounding: Rounding = EXACT) -> Crown:
    return Crown(chain_of(graph([(np.float32(w), np.float32(b)) for w, b in layers])), rounding)


def ends(lower: Any, upper: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(lower, dtype=torch.float32), torch.tensor(upper, dtype=torch.float32)


# --- by hand ------------------------------------------------------------------------------------------


def test_a_net_of_two_open_neurons_is_bounded_as_by_hand() -> None:
    """z = (x + y, x - y) lies in [-2, 2]: max(z, 0) is between z (the slope 1, as both sides are alike), or 0 (the
    flat slope), and z/2 + 1. So f_0 - f_1 = a_0 + a_1 <= (z_0 + z_1)/2 + 2 = x + 2 <= 3, where intervals give 4,
    and f_1 - f_0 <= -z_0 - z_1 = -2x <= 2 by the one slope and <= 0 by the other."""
    bound = dense(([[1, 1], [1, -1]], [0, 0]), ([[1, 1], [0, 0]], [0, 0]))
    margins = bound(*ends([-1, -1], [1, 1]))
    np.testing.assert_allclose(margins.numpy(), [[0, 3], [0, 0]], atol=1e-12)


def test_the_lower_slope_is_0_where_the_interval_lies_more_below() -> None:
    """z = x - 1/2 lies in [-3/2, 1/2]: 0 <= max(z, 0) <= (z + 3/2)/4."""
    bound = dense(([[1]], [-0.5]), ([[1], [0]], [0, 0]))
    margins = bound(*ends([-1], [1]))
    np.testing.assert_allclose(margins.numpy(), [[0, 0.5], [0, 0]], atol=1e-12)


def test_the_lower_slope_is_1_where_that_is_better() -> None:
    """f_1 - f_0 = x - a for z = x + 1/2 in [-1/2, 3/2]: at most x - z = -1/2, where the flat slope gives 1."""
    bound = dense(([[1], [1]], [0.5, 9]), ([[1, 0], [0, 1]], [9, 0]))
    margins = bound(*ends([-1], [1]))
    np.testing.assert_allclose(margins.numpy()[1, 0], -0.5, atol=1e-12)


def test_boxes_inside_the_network_are_bounded_backward_too() -> None:
    """h = a_0 + a_1 - 7/2 of the first net is at most -1/2 by linear bounds, so it is dead; by intervals it may
    reach 1/2."""
    bound = dense(([[1, 1], [1, -1]], [0, 0]), ([[1, 1]], [-3.5]), ([[1], [0]], [0, 0]))
    box = ends([-1, -1], [1, 1])
    hidden = bound.boxes(*box)[2]
    assert hidden.upper.item() == pytest.approx(-0.5, abs=1e-12)
    assert hidden.lower.item() == pytest.approx(-3.5, abs=1e-12)  # of the interval: the line gives -11/2
    assert torch.equal(bound(*box), torch.zeros(2, 2, dtype=torch.float64))


def test_a_network_without_open_neurons_is_bounded_exactly() -> None:
    bound = dense(([[1, 2], [-1, -1]], [3, -3]), ([[1, 5], [-1, 7]], [0, 1]))
    margins = bound(*ends([-1, -1], [1, 1]))  # f_0 = x + 2y + 3, f_1 = 1 - f_0
    np.testing.assert_allclose(margins.numpy(), [[0, 11], [1, 0]], atol=1e-12)


def test_a_deployed_sum_may_err_by_gamma_of_its_absolute_values() -> None:
    """z = 2x + y - 4 with x, y in [0, 1]: n = 3 and S = 2 + 1 + 4, so D = (gamma(3) + 2^-30) 7 + 2^-100."""
    (box,) = dense(([[2, 1]], [-4]), rounding=FLOAT32).boxes(*ends([0, 0], [1, 1]))
    margin = 7 * (3 * 2**-24 / (1 - 3 * 2**-24) + 2**-30)
    assert box.upper.item() == pytest.approx(-1 + margin, abs=1e-14)
    assert box.lower.item() == pytest.approx(-4 - margin, abs=1e-14)


# --- rational arithmetic ------------------------------------------------------------------------------


def rational_margins(layers: Layers, bound: Crown, lower: Array, upper: Array) -> Array:
    """The same linear bounds in rational arithmetic, on the boxes that `bound` made, with the margins that the
    deployed model needs and none for float64."""
    found = bound.boxes(torch.from_numpy(lower), torch.from_numpy(upper))
    read = [(rational(lower), rational(upper)), *((rational(b.lower), rational(b.upper)) for b in found[1::2])]
    pre = [(rational(b.lower), rational(b.upper)) for b in found[::2]]
    classes = len(layers[-1][1])
    result = np.full((classes, classes), Fraction(0), dtype=object)
    for k, j in np.ndindex(classes, classes):
        if k != j:
            row = np.array([Fraction(i == k) - Fraction(i == j) for i in range(classes)], dtype=object)
            result[k, j] = min(_rational_bound(layers, read, pre, row, flat) for flat in (False, True))
    return result


def _rational_bound(layers: Layers, read: list[Any], pre: list[Any], row: Array, flat: bool) -> Fraction:
    rest = Fraction(0)
    for i in reversed(range(len(layers))):
        weight, bias = rational(layers[i][0]), rational(layers[i][1])
        largest = np.maximum(abs(read[i][0]), abs(read[i][1]))
        n = weight.shape[1] + 1
        gamma = Fraction(n, 2**24) / (1 - Fraction(n, 2**24))
        margin = gamma * (dot(abs(weight), largest) + abs(bias)) + Fraction(1, 2**104)
        rest += sum(row * bias) + sum(abs(row) * margin)
        row = dot(weight.T, row)
        if i:
            row, shift = _rational_relu(row, *pre[i - 1], flat)
            rest += shift
    return rest + sum(np.where(row > 0, row * read[0][1], row * read[0][0]))


def _rational_relu(row: Array, lower: Array, upper: Array, flat: bool) -> tuple[Array, Fraction]:
    out, shift = row.copy(), Fraction(0)
    for i, (a, low, high) in enumerate(zip(row, lower, upper, strict=True)):
        if high <= 0:
            out[i] = Fraction(0)
        elif low < 0:
            out[i] = a * (high / (high - low) if a > 0 else Fraction(high >= -low and not flat))
            shift += max(out[i], Fraction(0)) * -low
    return out, shift


@pytest.mark.parametrize("kind", KINDS)
def test_margins_are_above_the_same_bounds_in_rational_arithmetic(kind: str) -> None:
    for seed in range(2):
        random = np.random.default_rng(seed)
        layers = layers_of(kind, random)
        bound = Crown(chain_of(graph(layers)))
        for lower, upper in boxes(random):
            margins = bound(torch.from_numpy(lower), torch.from_numpy(upper))
            assert (rational(margins) >= rational_margins(layers, bound, lower, upper)).all()


def test_float64_without_its_own_share_falls_below_rational_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above could fail, and rho is needed."""
    monkeypatch.setattr(crown, "RHO", 0.0)
    below = 0
    for seed in range(8):
        random = np.random.default_rng(seed)
        layers = layers_of("mixed", random)
        bound = Crown(chain_of(graph(layers)))
        for lower, upper in boxes(random):
            margins = bound(torch.from_numpy(lower), torch.from_numpy(upper))
            below += int((rational(margins) < rational_margins(layers, bound, lower, upper)).sum())
    assert below > 0


# --- the deployed model -------------------------------------------------------------------------------


def runs(layers: Layers, lower: Array, upper: Array, random: np.random.Generator) -> Iterator[list[Array]]:
    """What the layers may compute in float32, in orders of summation chosen layer by layer, and in real
    arithmetic; each run as the list of all pre-activations."""
    points = [lower, upper, *(np.where(random.random(lower.size) < 0.5, lower, upper) for _ in range(6))]
    for x in points:
        for _ in range(12):
            yield _run(layers, x, random)
        yield _real_run(layers, x)
    yield _run(layers, lower, random, fused=True)


def _run(layers: Layers, x: Array, random: np.random.Generator, fused: bool = False) -> list[Array]:
    values, way = [], fused_evaluations if fused else evaluations
    for weight, bias in layers:
        computed = list(way(weight, bias, x, int(random.integers(99))))
        values.append(rational(computed[random.integers(len(computed))]))
        x = np.maximum(np.array([float(v) for v in values[-1]], np.float32), np.float32(0))
    return values


def _real_run(layers: Layers, x: Array) -> list[Array]:
    values, x = [], rational(x)
    for weight, bias in layers:
        values.append(dot(rational(weight), x) + rational(bias))
        x = np.maximum(values[-1], Fraction(0))
    return values


def escapes(layers: Layers, rounding: Rounding) -> int:
    """How many values of runs lie outside what is said of them: boxes of pre-activations, and margins."""
    random = np.random.default_rng(0)
    bound, count = Crown(chain_of(graph(layers)), rounding), 0
    for lower, upper in boxes(random):
        box = torch.from_numpy(lower), torch.from_numpy(upper)
        margins = rational(bound(*box))
        said = [(rational(b.lower), rational(b.upper)) for b in bound.boxes(*box)[::2]]
        for values in runs(layers, lower, upper, random):
            count += sum(int(((v < low) | (v > high)).sum()) for v, (low, high) in zip(values, said, strict=True))
            count += int((values[-1][:, None] - values[-1][None, :] > margins).sum())
    return count


@pytest.mark.parametrize("kind", KINDS)
def test_every_float32_run_is_inside_and_some_escape_without_the_rounding_margin(kind: str) -> None:
    layers = layers_of(kind, np.random.default_rng(7))
    assert escapes(layers, FLOAT32) == 0
    assert escapes(layers, EXACT) > 0


@pytest.mark.parametrize("reach", [0.0, 0.02, 0.3])
def test_points_of_a_convolutional_net_stay_below_the_margins(reach: float) -> None:
    model = classifier(seed=2)
    bound = Crown(chain_of(read_graph(model)))
    random = np.random.default_rng(1)
    centre = random.random((1, 8, 8), dtype=np.float32)
    lower, upper = (np.clip(centre + np.float32(r), 0, 1) for r in (-reach, reach))
    margins = bound(torch.from_numpy(lower), torch.from_numpy(upper)).numpy()
    share = random.random((400, 1, 8, 8), dtype=np.float32)
    points = np.clip(lower + np.round(share * 2) / 2 * (upper - lower), lower, upper)
    logits = run_onnx(model, points)[0].astype(float)
    assert (logits[:, :, None] - logits[:, None, :] <= margins).all()


def test_linear_bounds_are_much_tighter_than_intervals_on_a_net_trained_without_them() -> None:
    model = classifier(seed=2)
    lower, upper = torch.full((1, 1, 8, 8), 0.3), torch.full((1, 1, 8, 8), 0.5)
    intervals = MarginModule(read_graph(model))(lower, upper)[0]
    linear = Crown(chain_of(read_graph(model)))(lower[0], upper[0])
    away = ~torch.eye(10, dtype=torch.bool)
    assert (linear[away] / intervals[away]).mean() < 0.8


def test_norms_and_sums_with_constants_are_covered_as_they_round() -> None:
    operations = [
        ("Sub", ["x", "m"], "a", {}), ("Div", ["a", "d"], "b", {}), ("Conv", ["b", "w"], "c", {}),
        ("Relu", ["c"], "r", {}), ("BatchNormalization", ["r", "s", "t", "u", "v"], "n", {}),
        ("Flatten", ["n"], "f", {}), ("Gemm", ["f", "l"], "y", {}),
    ]  # fmt: skip
    random = np.random.default_rng(0)
    constants = {
        "m": [0.5], "d": [0.25], "w": random.standard_normal((2, 1, 3, 3)), "l": random.standard_normal((72, 3)),
        "s": [2.0, 0.5], "t": [100.0, -1.0], "u": [0.3, 0.1], "v": [0.5, 2.0],
    }  # fmt: skip
    constants = {name: np.float32(value) for name, value in constants.items()}
    model = onnx_model(operations, constants, ["N", 1, 8, 8])
    chain = chain_of(read_graph(model))
    points = random.random((50, 1, 8, 8), dtype=np.float32)
    logits = run_onnx(model, points)[0].astype(float)
    for point, f in zip(points, logits, strict=True):
        margins = Crown(chain)(torch.from_numpy(point), torch.from_numpy(point)).numpy()
        assert (f[:, None] - f[None, :] <= margins).all()
        assert (margins - (f[:, None] - f[None, :])).max() < 0.1  # of values around 1000


def test_all_rows_at_once_and_one_by_one_give_the_same_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = chain_of(read_graph(classifier(seed=2)))
    box = torch.full((1, 8, 8), 0.3), torch.full((1, 8, 8), 0.5)
    whole = Crown(chain)(*box)
    monkeypatch.setattr(crown, "CHUNK", 1)
    torch.testing.assert_close(Crown(chain)(*box), whole, rtol=1e-12, atol=1e-12)


def test_numbers_past_float64_give_no_bound_and_not_a_wrong_one() -> None:
    """Weights that no admitted model has: coefficients overflow on the way back."""
    big = np.float32(3e38)
    layers = [(np.float32([[big, -big], [big, big]]), np.float32([0, 0]))] * 9
    bound = dense(*layers, rounding=FLOAT32)
    margins = bound(*ends([0, 0], [1, 1]))
    assert not margins.isnan().any()
    assert torch.isposinf(margins[~torch.eye(2, dtype=torch.bool)]).all()


def test_the_worst_case_is_counted_product_by_product() -> None:
    """2 * 3 rows of the second layer through 2 * 4 products, and 2 * 2 margins through 4 * 2 + 3 * 4 + 2 * 3, for
    either slope."""
    layers = [(np.zeros((o, i), np.float32), np.zeros(o, np.float32)) for o, i in ((4, 2), (3, 4), (2, 3))]
    chain = chain_of(graph(layers))
    assert [type(step) for step in chain.steps[1::2]] == [Relu, Relu]
    assert crown.cost(chain) == 2 * (6 * 8 + 4 * (8 + 12 + 6))


def test_the_box_of_a_dead_or_live_neuron_is_the_interval() -> None:
    step = crown.ReluStep.on(Interval(torch.tensor([-2.0, 1.0, -1.0]), torch.tensor([-1.0, 2.0, 3.0])), 0.0)
    assert step.above.tolist() == pytest.approx([0, 1, 0.75])
    assert step.below.tolist() == [0, 1, 1]
    assert step.flat().below.tolist() == [0, 1, 0]
    assert step.offset.tolist() == [0, 0, 1]
