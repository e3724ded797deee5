"""The architectures are those of the paper."""

import pytest
import torch

from goodcert.bounds.sequential import graph_of
from goodcert.nets import ARCHITECTURES, build


def test_s_has_the_layers_that_its_name_stands_for() -> None:
    net = build("S", (1, 28, 28), 10)
    shapes = [tuple(p.shape) for p in net.parameters() if p.ndim > 1]
    assert shapes == [(16, 1, 4, 4), (32, 16, 4, 4), (100, 32 * 13 * 13), (10, 100)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_one_logit_per_class_and_can_be_bounded(name: str) -> None:
    net = build(name, (3, 32, 32), 7)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert graph_of(net, (3, 32, 32)).nodes[-1].op == "Gemm"
