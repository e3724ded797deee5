"""A captured graph gives what the module gives, again and again, whoever else is asking."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from goodcert import engine
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.reader import read_graph
from goodcert.engine.cuda_graphs import GraphedMargins
from goodcert.engine.device import resolve
from graphs import classifier

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]


def test_replays_give_every_caller_the_margins_of_its_own_boxes() -> None:
    device = resolve("cuda")
    module = MarginModule(read_graph(classifier()).to(device))
    boxes = [torch.rand(rows, 1, 8, 8, device=device) for rows in (16, 32) * 8]
    with torch.inference_mode():
        graphed = GraphedMargins(module, (1, 8, 8), (16, 32), device)
        expected = [module(box, box + 0.1) for box in boxes]
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(graphed, boxes, [box + 0.1 for box in boxes]))
    for margins, other in zip(got, expected, strict=True):
        torch.testing.assert_close(margins, other, rtol=1e-5, atol=1e-5)


def test_weights_stay_where_the_graph_reads_them_when_nobody_else_holds_them() -> None:
    device = resolve("cuda")
    box = torch.rand(16, 1, 8, 8, device=device)
    with torch.inference_mode():
        expected = MarginModule(read_graph(classifier()).to(device))(box, box + 0.1)
        graphed = GraphedMargins(MarginModule(read_graph(classifier()).to(device)), (1, 8, 8), (16,), device)
        gc.collect()
        taken = [torch.full((size,), torch.nan, device=device) for size in range(1, 5000)]
        got = graphed(box, box + 0.1)
    assert len(taken) == 4999
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_a_gpu_predicts_and_bounds_the_same_whether_or_not_others_take_memory_meanwhile() -> None:
    certifier = engine.compile(classifier(), device="cuda")
    images = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
    before = certifier.certify(images, 0.1)
    taken = [torch.full((size,), torch.nan, device="cuda") for size in range(1, 5000)]
    after = certifier.certify(images, 0.1)
    assert len(taken) == 4999
    assert np.array_equal(before.margins, after.margins)
    assert np.array_equal(before.confidence_upper_bound, after.confidence_upper_bound)
