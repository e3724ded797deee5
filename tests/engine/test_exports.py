"""What torch's two exporters write for a free batch is certified, shapes computed from the input included."""

import io
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from goodcert import engine


class Shapes(nn.Module):
    """Shapes read from the input, in the ways that people write."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.dense = nn.Linear(2 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)  # channels shuffled
        left, right = torch.chunk(x, 2, dim=1)
        x = torch.cat([left + right, right], dim=1)
        x = F.relu(self.up(F.adaptive_avg_pool2d(x, 3)))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = F.interpolate(x, size=(x.shape[-2] // 3, 4), mode="bilinear")
        return self.dense(x.view(x.size(0), -1))


class Normed(nn.Module):
    """A local response norm between layers, and a view with the batch spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=2)
        self.dense = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.leaky_relu(self.conv(x)), 2, stride=1, padding=1)[:, :, :3, :3]
        x = x / (1 + x.abs().amax(dim=1, keepdim=True))
        return self.dense(torch.reshape(x, (x.shape[0], x.shape[1] * 9)))


def exported(net: nn.Module, *, dynamo: bool) -> onnx.ModelProto:
    images = torch.rand(2, 1, 6, 6)
    file = io.BytesIO()
    if dynamo:
        batch: Any = ({0: torch.export.Dim("batch")},)
        program = torch.onnx.export(net, (images,), dynamo=True, dynamic_shapes=batch, verbose=False)
        assert program is not None
        program.save(file)
    else:
        torch.onnx.export(
            net,
            (images,),
            file,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},  # type: ignore[arg-type]
        )
    return onnx.load_model_from_string(file.getvalue())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["tracing", "dynamo"])
@pytest.mark.parametrize("net", [Shapes, Normed])
def test_an_export_with_a_free_batch_is_certified(net: type[nn.Module], dynamo: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = net().eval()
    compiled = engine.compile(exported(module, dynamo=dynamo))
    images = np.random.default_rng(0).random((3, 1, 6, 6), dtype=np.float32)
    certificates = compiled.certify(images, 0.01)
    assert certificates.sound().all()
    assert (certificates.confidence_upper_bound < 1).all()
    expected = module(torch.from_numpy(images)).softmax(dim=1).amax(dim=1).detach()
    np.testing.assert_allclose(certificates.confidence, expected, rtol=1e-5)
