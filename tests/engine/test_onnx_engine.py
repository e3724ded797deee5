"""The bound graph that ONNX Runtime runs: as sound as the module it was exported from, and as tight."""

import numpy as np
import pytest
import torch

from exact import rational
from goodcert.bounds.ball import Ball, around
from goodcert.bounds.reader import read_graph
from goodcert.engine.onnx_engine import OnnxEngine
from goodcert.engine.torch_engine import TorchEngine
from graphs import classifier
from hard_networks import NETS, boxes, exact_margins, graph


@pytest.mark.parametrize("kind", NETS)
def test_margins_are_above_the_rational_ones(kind: str) -> None:
    for seed in range(3):
        random = np.random.default_rng(seed)
        layers = NETS[kind](random)
        bounds = OnnxEngine(graph(layers), 1)
        for lower, upper in boxes(random):
            ball = Ball(*(x.reshape(1, 1, 1, -1) for x in (lower, lower, upper)))
            margins = bounds(ball).margins
            assert (rational(margins[0]) >= exact_margins(layers, lower, upper)).all()


@pytest.mark.parametrize("count", [1, 5, 64, 65, 130])
def test_numbers_are_those_of_eager_pytorch(count: int) -> None:
    model = read_graph(classifier())
    images = np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)
    ball = around(images, 0.05)
    eager, exported = TorchEngine(model, torch.device("cpu"))(ball), OnnxEngine(model, 1)(ball).margins
    assert exported.dtype == np.float64
    np.testing.assert_allclose(exported, eager, rtol=1e-5, atol=1e-5)


def test_eager_margins_give_a_row_the_same_bits_in_every_batch() -> None:
    bounds = TorchEngine(read_graph(classifier()), torch.device("cpu"))
    ball = around(np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32), 0.05)
    whole = bounds(ball)
    for size in (1, 2, 3, 15, 16, 17, 31, 48, 63):
        part = bounds(Ball(*(x[-size:] for x in ball)))
        assert np.array_equal(part, whole[-size:])
