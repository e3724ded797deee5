"""One graph for prediction and bound: what it saves, and that it computes what the two would."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from exact import affine, conv_matrix, differences, rational, relu
from goodcert.bounds.ball import Ball, around
from goodcert.bounds.graph import Graph
from goodcert.bounds.reader import read_graph
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.engine.one_graph import one_graph
from goodcert.engine.onnx_engine import OnnxEngine
from goodcert.engine.prediction import Predictor
from goodcert.engine.torch_engine import TorchEngine
from goodcert.nets import build
from graphs import Operation, classifier, onnx_model


@pytest.fixture(scope="module")
def net() -> Graph:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return read_graph(write_graph(graph_of(build("S", (1, 8, 8), 3), (1, 8, 8))))


@pytest.fixture
def ball() -> Ball:
    return around(np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32), 0.1)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def held(model: onnx.ModelProto) -> list[bytes]:
    """The large weights, by their bytes."""
    return [tensor.raw_data for tensor in model.graph.initializer if len(tensor.raw_data) > 1000]


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_it_is_a_valid_model_from_a_ball_to_logits_and_margins(net: Graph, opset: int) -> None:
    model = one_graph(replace(net, opset=opset))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["point", "lower", "upper"]
    assert [value.name for value in model.graph.output] == ["logits", "margins"]


@pytest.mark.parametrize("opset", [11, 17, 18, 20, 22])
def test_logits_are_those_of_the_prediction_and_margins_those_of_the_reference(
    net: Graph, ball: Ball, opset: int
) -> None:
    graph = replace(net, opset=opset)
    logits, margins = OnnxEngine(graph, 1)(ball)
    np.testing.assert_allclose(logits, Predictor(write_graph(graph), 1)(ball.point), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(margins, TorchEngine(net, torch.device("cpu"))(ball), rtol=1e-5, atol=1e-5)


def test_dense_weights_that_prediction_and_bound_share_are_held_and_read_once(net: Graph) -> None:
    weight = net.constants["5.weight"].numpy().tobytes()
    assert held(one_graph(net)).count(weight) == 1


TIED = {
    "two in sequence": "aa",
    "a chain of four": "aaaa",
    "two in sequence behind another": "baa",
    "two weights in turns": "abab",
}


@pytest.mark.parametrize("layers", TIED.values(), ids=TIED)
def test_weights_that_are_used_again_in_sequence_are_stacked_step_by_step(layers: str) -> None:
    """Each use of the prediction is one product with the same use of the bound, and with no other."""
    model = one_graph(dense_layers(layers))
    assert operators(model)["Split"] == len(layers)
    check_against_the_reference(dense_layers(layers))


def test_two_branches_through_the_same_weights_in_opposite_order_do_not_wait_for_each_other() -> None:
    graph = dense_layers("ab", "ba")
    check_against_the_reference(graph)


def test_an_independent_use_and_one_that_needs_another_are_told_apart() -> None:
    check_against_the_reference(dense_layers("aa", "a"))


def dense_layers(*branches: str) -> Graph:
    """Flatten, then branches of dense layers and ReLUs through the weights named by letters, summed up."""
    random = np.random.default_rng(5)
    names = sorted({name for branch in branches for name in branch})
    shapes = dict.fromkeys(names, (4, 4)) | {f"{name}'": (4,) for name in names} | {"last": (3, 4)}
    constants = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    operations: list[Operation] = [("Flatten", ["x"], "f", {})]
    for i, branch in enumerate(branches):
        value = "f"
        for j, name in enumerate(branch):
            operations.append(("Gemm", [value, name, f"{name}'"], f"g{i}{j}", {"transB": 1}))
            operations.append(("Relu", [f"g{i}{j}"], value := f"r{i}{j}", {}))
    ends = [f"r{i}{len(branch) - 1}" for i, branch in enumerate(branches)]
    operations.append(("Sum", ends, "s", {}))
    operations.append(("Gemm", ["s", "last"], "y", {"transB": 1}))
    return read_graph(onnx_model(operations, constants, ["N", 1, 2, 2]))


def check_against_the_reference(graph: Graph) -> None:
    ball = around(np.random.default_rng(6).random((3, 1, 2, 2), dtype=np.float32), 0.1)
    logits, margins = OnnxEngine(graph, 1)(ball)
    np.testing.assert_allclose(logits, Predictor(write_graph(graph), 1)(ball.point), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(margins, TorchEngine(graph, torch.device("cpu"))(ball), rtol=1e-5, atol=1e-5)


def test_between_convolutions_of_whole_blocks_nothing_leaves_the_layout(net: Graph) -> None:
    model = one_graph(net)
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    makers = {node.output[0]: node.op_type for node in model.graph.node}
    deep = [n for n in model.graph.node if n.op_type == "Conv" and sizes[n.input[1]][1:3] not in ([1, 4], [1, 1])]
    assert len(deep) == 3  # of the second layer: prediction, centre, radius
    assert {makers[n.input[0]] for n in deep} <= {"Conv", "Add", "Relu"}


def test_channels_that_fill_no_blocks_are_left_as_they_are() -> None:
    model = one_graph(read_graph(classifier()))
    assert operators(model)["Conv"] == 3  # prediction, centre and radius, of 4 channels


def test_an_addition_is_fused_only_into_the_convolutions_made_for_it(net: Graph) -> None:
    """Centre and radius, which sum many terms, are each read more than once, so nothing is added inside them."""
    model = one_graph(net)
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    added = [name for node in model.graph.node if node.op_type == "Add" for name in node.input]
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] in added and uses[node.output[0]] == 1:
            assert sizes[node.input[1]][1:] == [1, 1, 1]


@pytest.mark.parametrize("width", [0.0, 2.0**-16])
def test_margins_of_a_convolutional_net_in_blocks_are_above_the_rational_ones(width: float) -> None:
    """On boxes so small that hardly more than rounding is left, of which huge weights that cancel make much."""
    random = np.random.default_rng(4)
    shapes = [(16, 1, 3, 3), (16, 16, 3, 3), (3, 16 * 4 * 4)]
    weights = [(random.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32) for s in shapes]
    weights[0][1::2] = weights[0][::2]
    weights[1][:, 1::2] = np.float32(2.0**12) * weights[1][:, 1::2]
    weights[1][:, ::2] -= weights[1][:, 1::2]
    biases = [random.standard_normal(s[0]).astype(np.float32) for s in shapes]
    biases[0][1::2] = biases[0][::2]
    lower = random.random((4, 1, 4, 4), dtype=np.float32)
    upper = lower + np.float32(width)
    margins = OnnxEngine(two_convolutions(weights, biases), 1)(Ball(lower, lower, upper)).margins
    for row, (low, high) in enumerate(zip(lower, upper, strict=True)):
        box = rational(low.ravel()), rational(high.ravel())
        for weight, bias in zip(weights[:2], biases[:2], strict=True):
            matrix = rational(conv_matrix(weight, 4, 1, 1))
            box = relu(*affine(matrix, rational(np.repeat(bias, 16)), *box))
        assert (rational(margins[row]) >= differences(rational(weights[2]), rational(biases[2]), *box)).all()


def two_convolutions(weights: list[NDArray[np.float32]], biases: list[NDArray[np.float32]]) -> Graph:
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 3),
    )  # fmt: skip
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), chain(*zip(weights, biases, strict=True)), strict=True):
            parameter.copy_(torch.from_numpy(value))
    return read_graph(write_graph(graph_of(net, (1, 4, 4))))
