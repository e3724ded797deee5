"""A captured graph gives what the module gives, again and again, whoever else is asking."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.reader import read_graph
from goodcert.engine.cuda_graphs import GraphedMargins
from goodcert.engine.device import resolve
from graphs import classifier


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
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
