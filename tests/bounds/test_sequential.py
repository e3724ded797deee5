"""The network that is trained, its graph and the file that PyTorch exports mean the same."""

import io

import onnx
import pytest
import torch
from torch import Tensor, nn

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT, FLOAT32
from goodcert.bounds.sequential import graph_of

SHAPE = (1, 6, 6)


def small_net() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(27, 5), nn.ReLU(), nn.Linear(5, 4),
        )  # fmt: skip


def bounds(net: nn.Sequential, box: Interval, exact: bool = True) -> Interval:
    (out,) = prepare(graph_of(net, SHAPE), EXACT if exact else FLOAT32)(box)
    return out


def box(count: int = 2) -> Interval:
    lower = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))
    return Interval(lower, lower + 0.125)


def test_a_point_is_mapped_as_the_network_maps_it() -> None:
    net, x = small_net(), box().lower
    torch.testing.assert_close(bounds(net, Interval(x, x)).lower, net(x))


@pytest.mark.filterwarnings("ignore")
def test_exported_file_is_bounded_by_the_same_numbers() -> None:
    net, file = small_net().eval(), io.BytesIO()
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(net, (box().lower,), dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    assert program is not None
    program.save(file)
    exported = read_graph(onnx.load_model_from_string(file.getvalue()))
    (out,) = prepare(exported, FLOAT32)(box())
    expected = bounds(net, box(), exact=False)
    assert torch.equal(out.lower, expected.lower)
    assert torch.equal(out.upper, expected.upper)


def test_gradients_flow_to_every_parameter() -> None:
    net = small_net()
    bounds(net, box()).upper.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_one_activation_used_twice_is_applied_twice() -> None:
    act = nn.ReLU()
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 2))
    assert [n.op for n in graph_of(net, SHAPE).nodes] == ["Flatten", "Gemm", "Relu", "Gemm", "Relu", "Gemm"]


class Twice(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Sigmoid(),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
        nn.Flatten(1, 2),
        nn.Flatten(0),
        Twice(36, 36),
        nn.utils.parametrizations.weight_norm(nn.Linear(36, 36)),
    ],
    ids=["Sigmoid", "same", "circular", "Flatten-some", "Flatten-all", "subclass", "parametrized"],
)
def test_layer_that_is_not_understood_is_refused_by_name(layer: nn.Module) -> None:
    with pytest.raises(Unsupported, match="layer '0'"):
        graph_of(nn.Sequential(layer), SHAPE)
