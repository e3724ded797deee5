"""Networks made to hurt: float32 bounds hold against rational arithmetic and every order of summation, and
the same bounds without the rounding margin do not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from exact import Array, affine, conv_matrix, evaluations, fused_evaluations, rational, round32
from goodcert.bounds.classifier import split, training_margins
from goodcert.bounds.confidence import LogitDifferences
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT, FLOAT32
from graphs import onnx_model
from hard_networks import NETS, boxes, exact_margins, graph


def tensors(lower: Array, upper: Array) -> Interval:
    return Interval(*(torch.from_numpy(x).reshape(1, 1, 1, -1) for x in (lower, upper)))


@pytest.mark.parametrize("kind", NETS)
def test_margins_are_above_the_rational_ones_and_escape_without_the_rounding_margin(kind: str) -> None:
    escapes = 0
    for seed in range(4):
        random = np.random.default_rng(seed)
        layers = NETS[kind](random)
        body, weight, bias = split(graph(layers))
        for lower, upper in boxes(random):
            expected = exact_margins(layers, lower, upper)
            (x,) = prepare(body, FLOAT32)(tensors(lower, upper))
            features = Interval(x.lower.double(), x.upper.double())
            sound = LogitDifferences(weight.double(), bias.double(), FLOAT32)(features)
            plain = training_margins(prepare(body, EXACT), weight, bias, tensors(lower, upper), EXACT)
            assert (rational(sound[0].numpy()) >= expected).all()
            escapes += int((rational(plain[0].numpy()) < expected).sum())
    assert escapes > 0


@pytest.mark.parametrize("kind", NETS)
def test_intervals_contain_every_evaluation_and_escape_without_the_rounding_margin(kind: str) -> None:
    escapes = 0
    for seed in range(3):
        random = np.random.default_rng(seed)
        layers = NETS[kind](random)
        whole = graph(layers)
        for lower, upper in boxes(random):
            sound, plain = (prepare(whole, r).trace(tensors(lower, upper)) for r in (FLOAT32, EXACT))
            values = [lower, upper, np.where(random.random(lower.size) < 0.5, lower, upper)]
            for i, (weight, bias) in enumerate(layers):
                computed = [y for x in values for y in evaluations(weight, bias, x, seed)]
                computed += fused_evaluations(weight, bias, values[0])
                box = sound[f"g{i}"]
                assert all(np.all((box.lower[0].numpy() <= y) & (y <= box.upper[0].numpy())) for y in computed)
                box = plain[f"g{i}"]
                escapes += sum(
                    int(np.sum((y < box.lower[0].numpy()) | (y > box.upper[0].numpy()))) for y in computed
                )
                values = [np.maximum(computed[j], np.float32(0)) for j in random.permutation(len(computed))[:3]]
    assert escapes > 0


@pytest.mark.parametrize("fan_in", [1, 2, 100, 1000, 4000])
@pytest.mark.parametrize("kind", ["positive", "mixed", "cancelling", "wide"])
def test_one_layer_contains_the_real_box_and_every_order_of_summation(fan_in: int, kind: str) -> None:
    random = np.random.default_rng(fan_in)
    weight = random.standard_normal((3, fan_in)).astype(np.float32)
    if kind == "positive":
        weight = abs(weight)
    if kind == "cancelling":
        weight[:, ::2] = -weight[:, 1::2] if fan_in % 2 == 0 else weight[:, ::2]
    if kind == "wide":
        weight = np.ldexp(weight, random.integers(-40, 10, weight.shape)).astype(np.float32)
    bias = np.float32([0, 1e6, -1e-3])
    x = random.random(fan_in, dtype=np.float32) + np.float32(0.1)
    for reach in (0, 1e-7, 0.05):
        lower, upper = x - np.float32(reach), x + np.float32(reach)
        model = onnx_model(
            [("Gemm", ["x", "w", "b"], "y", {"transB": 1})], {"w": weight, "b": bias}, ["N", fan_in]
        )
        (box,) = prepare(read_graph(model), FLOAT32)(
            Interval(torch.from_numpy(lower)[None], torch.from_numpy(upper)[None])
        )
        low, high = affine(rational(weight), rational(bias), rational(lower), rational(upper))
        assert (rational(box.lower[0].numpy()) <= low).all()
        assert (rational(box.upper[0].numpy()) >= high).all()
        for sign in (1, -1):
            for row in range(3):
                corner = np.where(sign * weight[row] > 0, upper, lower)
                for y in evaluations(weight, bias, corner):
                    assert np.all((box.lower[0].numpy() <= y) & (y <= box.upper[0].numpy()))


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1)])
def test_convolution_contains_the_real_box_and_every_order_of_summation(stride: int, padding: int) -> None:
    random = np.random.default_rng(0)
    weight, bias = random.standard_normal((3, 2, 3, 3)).astype(np.float32), np.float32([0, 1e5, -1])
    lower = random.random((2, 5, 5), dtype=np.float32)
    upper = lower + np.float32(0.01)
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4}
    model = onnx_model([("Conv", ["x", "w", "b"], "y", attributes)], {"w": weight, "b": bias}, ["N", 2, 5, 5])
    (box,) = prepare(read_graph(model), FLOAT32)(
        Interval(torch.from_numpy(lower)[None], torch.from_numpy(upper)[None])
    )
    low, high = (x.numpy().ravel() for x in box)
    matrix = conv_matrix(weight, 5, stride, padding)
    biases = np.repeat(bias, len(matrix) // 3)
    exact_low, exact_high = affine(
        rational(matrix), rational(biases), rational(lower.ravel()), rational(upper.ravel())
    )
    assert (rational(low) <= exact_low).all()
    assert (rational(high) >= exact_high).all()
    for x in (lower, upper):
        assert all(np.all((low <= y) & (y <= high)) for y in evaluations(matrix, biases, x.ravel()))


@given(
    values=st.lists(st.tuples(*[st.floats(-(2.0**60), 2.0**60, width=32)] * 2), min_size=1, max_size=9),
    bias=st.floats(-(2.0**60), 2.0**60, width=32),
    reach=st.floats(0, 2.0**60, width=32),
)
def test_any_single_neuron_contains_its_exact_and_its_fused_values(
    values: list[tuple[float, float]], bias: float, reach: float
) -> None:
    weight, x = np.float32([[w for w, _ in values]]) / np.float32(2.0**50), np.float32([x for _, x in values])
    lower, upper = x - np.float32(reach), x + np.float32(reach)
    model = onnx_model([("Gemm", ["x", "w", "b"], "y", {"transB": 1})], {"w": weight, "b": [bias]}, ["N", len(x)])
    (box,) = prepare(read_graph(model), FLOAT32)(
        Interval(torch.from_numpy(lower)[None], torch.from_numpy(upper)[None])
    )
    low, high = box.lower.item(), box.upper.item()
    exact_low, exact_high = affine(rational(weight), rational([bias]), rational(lower), rational(upper))
    assert rational(low) <= exact_low[0]
    assert rational(high) >= exact_high[0]
    for corner in (lower, upper, np.where(weight[0] > 0, lower, upper)):
        for evaluate in (evaluations, fused_evaluations):
            assert all(low <= y[0] <= high for y in evaluate(weight, np.float32([bias]), corner))


@given(st.fractions(min_value=-1, max_value=1), st.integers(-150, 100))
def test_rounding_of_fractions_is_that_of_the_hardware(value: object, exponent: int) -> None:
    double = float(value) * 2.0**exponent  # type: ignore[arg-type]
    assert round32(rational(double).item()) == np.float32(double)
