"""Bounds hold for the file as it is written and for what runtimes fuse of it, not for the served graph alone."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from goodcert.bounds import Unsupported, interval_outputs
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.fusion import BEHIND
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.norm import ROUNDINGS
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import FLOAT32
from goodcert.engine.sessions import LEVELS, session
from graphs import Operation, onnx_model

F32 = NDArray[np.float32]


def deployed(model: onnx.ModelProto, x: F32) -> list[F32]:
    """The output at every level of optimisation."""
    return [session(model.SerializeToString(), level).run(None, {"x": x})[0] for level in LEVELS]


def margins(model: onnx.ModelProto, x: F32) -> F32:
    point = torch.from_numpy(x)
    return MarginModule(read_graph(model))(point, point).numpy()


def norm(source: str, target: str, opset: int = 17) -> Operation:
    return ("BatchNormalization", [source, "gamma", "beta", "mean", "var"], target, {"epsilon": 1e-5})


def cancelling(layer: str, opset: int, random: np.random.Generator) -> onnx.ModelProto:
    """A layer whose results the mean of a norm all but cancels, and a scale that makes what is left large."""
    channels, size = 3, 4
    dense = layer != "Conv"
    weight = random.normal(size=(channels, size) if dense else (channels, 1, 2, 2)).astype(np.float32) * 100
    bias = (weight.reshape(channels, -1).sum(1) + random.normal(size=channels)).astype(np.float32)
    attributes: dict[str, Any] = {"transB": 1} if dense else {}
    made: list[Operation] = [
        ("Flatten", ["x"], "f", {}) if dense else ("Identity", ["x"], "f", {}),
        (layer, ["f", "w", "b"], "h", attributes),
        norm("h", "n", opset),
        ("Flatten", ["n"], "y", {}),
    ]
    constants = {
        "w": weight, "b": bias, "gamma": np.full(channels, 1000, np.float32), "var": np.ones(channels, np.float32),
        "beta": random.normal(size=channels).astype(np.float32),
        "mean": bias + weight.reshape(channels, -1).sum(1) / 2,
    }  # fmt: skip
    return onnx_model(made, constants, ["N", 1, 2, 2], opset=opset)


@pytest.mark.parametrize("opset", [7, 9, 14, 15, 17, 21])
@pytest.mark.parametrize("layer", ["Conv", "Gemm"])
def test_a_norm_that_cancels_its_layer_is_enclosed_folded_or_not(layer: str, opset: int) -> None:
    random = np.random.default_rng(opset)
    apart = 0.0
    for _ in range(20):
        model = cancelling(layer, opset, random)
        x = np.full((1, 1, 2, 2), 111 / 255, np.float32)
        most = margins(model, x)[0]
        results = deployed(model, x)
        for z in results:
            difference = z[0, :, None].astype(np.float64) - z[0, None, :]
            assert (difference <= most).all()
        apart = max(apart, float(max(np.abs(z - results[0]).max() for z in results)))
    assert layer != "Conv" or apart > 0.01, "folding makes no difference here: this test would see nothing"


BEHIND_A_LAYER: dict[str, tuple[Operation, ...]] = {
    "constant": (("Add", ["h", "large"], "y", {}),),
    "difference": (("Sub", ["h", "large"], "y", {}),),
    "scaled": (("Mul", ["h", "scale"], "s", {}), ("Add", ["s", "large"], "y", {})),
    "divided": (("Div", ["h", "scale"], "s", {}), ("Sub", ["s", "large"], "y", {})),
    "branch": (("Mul", ["x", "large"], "b", {}), ("Add", ["h", "b"], "y", {})),
    "branch-first": (("Mul", ["x", "large"], "b", {}), ("Add", ["b", "h"], "r", {}), ("Relu", ["r"], "y", {})),
    "sum": (("Mul", ["x", "large"], "b", {}), ("Sum", ["h", "b"], "y", {})),
}


@pytest.mark.parametrize("behind", BEHIND_A_LAYER)
@pytest.mark.parametrize("layer", ["Conv", "Gemm", "MatMul"])
def test_what_a_runtime_draws_into_the_sum_of_a_layer_is_enclosed(layer: str, behind: str) -> None:
    """The other operand is so large beside the layer that starting the sum with it loses most of the layer."""
    random = np.random.default_rng(3)
    channels = 16
    weight = random.normal(size=(channels, channels)).astype(np.float32)
    constants: dict[str, Any] = {
        "w": weight[:, :, None, None] if layer == "Conv" else weight, "scale": np.float32(3.3),
    }  # fmt: skip
    shape = ["N", channels, 3, 3] if layer == "Conv" else ["N", channels]
    broadcast = (channels, 1, 1) if layer == "Conv" else (channels,)
    constants["large"] = (1e5 * random.normal(size=broadcast)).astype(np.float32)
    model = onnx_model([(layer, ["x", "w"], "h", {}), *BEHIND_A_LAYER[behind]], constants, shape)
    x = random.random((4, *[int(n) for n in shape[1:]]), dtype=np.float32)
    (lower,), (upper,) = interval_outputs(model, x, x)
    for y in deployed(model, x):
        assert ((lower <= y) & (y <= upper)).all()


def test_roundings_and_sizes_of_a_folded_norm_are_those_of_its_parts() -> None:
    """y = 2 (3 x + 10 - 12) + 1: |2| |10| + |12 2| + |1| = 45 stands for |b| = 3, of the same bias -3."""
    constants = {"w": [[3.0]], "b": [10.0], "gamma": [2.0], "beta": [1.0], "mean": [12.0], "var": [1.0]}
    operations: list[Operation] = [
        ("Gemm", ["x", "w", "b"], "h", {}),
        ("BatchNormalization", ["h", "gamma", "beta", "mean", "var"], "y", {"epsilon": 0.0}),
    ]
    (node,) = read_graph(onnx_model(operations, constants, ["N", 1])).nodes
    assert node.roundings == BEHIND["BatchNormalization"] == ROUNDINGS + 2
    assert node.size is not None
    assert node.size.tolist() == pytest.approx([45.0], abs=1e-20)


def test_an_addition_behind_a_layer_counts_the_sum_that_it_may_join() -> None:
    operations: list[Operation] = [("MatMul", ["x", "w"], "h", {}), ("Add", ["h", "x"], "y", {})]
    product, addition = read_graph(onnx_model(operations, {"w": np.eye(5, dtype=np.float32)}, ["N", 5])).nodes
    assert product.roundings == BEHIND["Add"]
    assert addition.roundings == 5 + 2


def test_a_result_that_others_read_joins_no_sum() -> None:
    operations: list[Operation] = [
        ("MatMul", ["x", "w"], "h", {}), ("Relu", ["h"], "r", {}), ("Add", ["h", "r"], "y", {}),
    ]  # fmt: skip
    nodes = read_graph(onnx_model(operations, {"w": np.eye(5, dtype=np.float32)}, ["N", 5])).nodes
    assert [node.roundings for node in nodes] == [0, 0, 0]


@pytest.mark.parametrize(
    ("factor", "weight", "reason"),
    [
        ({"alpha": 2.0**-41}, 1.0, "alpha and beta between"),
        ({"alpha": 2.0**41}, 1.0, "alpha and beta between"),
        ({"beta": 1e-30}, 1.0, "alpha and beta between"),
        ({"alpha": 2.0**-30}, 2.0**-100, "no weight under- or overflows"),
    ],
)
@pytest.mark.parametrize("fold_weights", [False, True])
def test_factors_that_no_relative_change_pays_for_are_refused(
    factor: dict[str, float], weight: float, reason: str, fold_weights: bool
) -> None:
    model = onnx_model([("Gemm", ["x", "w", "b"], "y", factor)], {"w": [[weight]], "b": [1.0]}, ["N", 1])
    with pytest.raises(Unsupported, match=reason):
        prepare(read_graph(model, fold_weights=fold_weights), FLOAT32)


def test_norms_under_which_weights_become_subnormal_are_refused() -> None:
    constants = {
        "w": [[2.0**-90]], "b": [1.0], "gamma": [2.0**-50], "beta": [0.0], "mean": [0.0], "var": [1.0],
    }  # fmt: skip
    operations: list[Operation] = [("Gemm", ["x", "w", "b"], "h", {}), norm("h", "y")]
    with pytest.raises(Unsupported, match="no weight under- or overflows"):
        read_graph(onnx_model(operations, constants, ["N", 1]))


FACTORS: dict[str, Any] = {
    "number": np.float32(2.0**-50),
    "channels": np.array([1, 2.0**-50], np.float32).reshape(2, 1, 1),
    "channels of one image": np.array([1, 2.0**-50], np.float32).reshape(1, 2, 1, 1),
    "pixels": np.array([1, 2.0**-50], np.float32),
}
UNDER = "'node1'.*no weight under- or overflows"


def scaled(layer: str, op: str, factor: Any) -> onnx.ModelProto:
    """Weights of 1 for the first channel and 2^-90 for the second, and then a factor that nothing here folds."""
    weight = np.diag([1, 2.0**-90]).astype(np.float32)
    constants: dict[str, Any] = {
        "w": weight[:, :, None, None] if layer == "Conv" else weight, "s": factor if op == "Mul" else 1 / factor,
        "gamma": factor, "beta": np.zeros(2, np.float32), "mean": np.zeros(2, np.float32),
        "var": np.ones(2, np.float32),
    }  # fmt: skip
    norm_of_it: Operation = norm("h", "y")
    operations: list[Operation] = [
        (layer, ["x", "w"], "h", {}), norm_of_it if op == "BatchNormalization" else (op, ["h", "s"], "y", {}),
    ]  # fmt: skip
    read = {name for _, names, _, _ in operations for name in names}
    known = {name: value for name, value in constants.items() if name in read}
    return onnx_model(operations, known, ["N", 2, 1, 2] if layer == "Conv" else ["N", 2])


@pytest.mark.parametrize("op", ["Mul", "Div"])
@pytest.mark.parametrize("factor", FACTORS)
def test_factors_that_a_runtime_may_fold_are_refused_where_weights_become_subnormal(op: str, factor: str) -> None:
    for fold_weights in (False, True):
        with pytest.raises(Unsupported, match=UNDER):
            read_graph(scaled("Conv", op, FACTORS[factor]), fold_weights=fold_weights)


@pytest.mark.parametrize("layer", ["Conv", "Gemm", "MatMul"])
def test_norms_that_a_runtime_may_fold_are_refused_where_weights_become_subnormal(layer: str) -> None:
    model = scaled(layer, "BatchNormalization", np.array([1, 2.0**-50], np.float32))
    for fold_weights in (False, True):
        with pytest.raises(Unsupported, match=UNDER):
            read_graph(model, fold_weights=fold_weights)


def test_a_small_factor_of_a_channel_is_weighed_against_the_weights_of_that_channel() -> None:
    for shape in ((2, 1, 1), (1, 2, 1, 1)):
        read_graph(scaled("Conv", "Mul", np.array([2.0**-50, 1], np.float32).reshape(shape)))
    read_graph(scaled("Conv", "BatchNormalization", np.array([2.0**-50, 1], np.float32)))


def test_weights_and_factors_of_0_become_nothing_that_is_subnormal() -> None:
    """They were 0 before."""
    read_graph(scaled("Conv", "Mul", np.array([2.0**-50, 0], np.float32).reshape(2, 1, 1)))


def test_factors_one_after_the_other_are_multiplied() -> None:
    operations: list[Operation] = [
        ("Conv", ["x", "w"], "h", {}), ("Mul", ["h", "s"], "i", {}), ("Mul", ["i", "s"], "y", {}),
    ]  # fmt: skip
    for power, fits in ((-62, True), (-64, False)):
        constants = {"w": np.ones((1, 1, 1, 1), np.float32), "s": np.float32(2.0**power)}
        model = onnx_model(operations, constants, ["N", 1, 1, 1])
        if fits:
            read_graph(model)
        else:
            with pytest.raises(Unsupported, match=r"'node2'.*no weight under- or overflows"):
                read_graph(model)


def test_a_computed_weight_counts_how_far_it_is_from_real_arithmetic() -> None:
    """3 float32(0.1) needs two bits more than float32 has: half a unit off at most, counted as one, twice."""
    operations: list[Operation] = [("Mul", ["a", "three"], "w", {}), ("MatMul", ["x", "w"], "y", {})]
    (node,) = read_graph(onnx_model(operations, {"a": [[0.1]], "three": [[3.0]]}, ["N", 1])).nodes
    assert node.op == "MatMul"
    assert node.roundings == 2


def test_a_computed_weight_that_cancels_is_enclosed_in_real_arithmetic() -> None:
    """(1 + 2^-24) - 1 is 0 in float32 and 2^-24 in truth: no relative change, so it stays a box."""
    operations: list[Operation] = [
        ("Add", ["one", "tiny"], "s", {}), ("Sub", ["s", "one"], "w", {}), ("Mul", ["x", "w"], "y", {}),
    ]  # fmt: skip
    model = onnx_model(operations, {"one": [1.0], "tiny": [2.0**-24]}, ["N", 1])
    point = np.ones((1, 1), np.float32)
    (lower,), (upper,) = interval_outputs(model, point, point)
    assert lower[0, 0] <= 0 <= 2.0**-24 <= upper[0, 0]
