"""The bound itself as an ONNX graph: nothing in it depends on the batch, and nothing is lost."""

import io

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from exact import affine, differences, rational, relu
from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.sequential import graph_of


@pytest.mark.filterwarnings("ignore")
def test_margins_export_with_a_free_batch_and_stays_sound() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3))
    module = MarginModule(graph_of(net, (1, 4, 4)))
    lower = torch.rand(7, 1, 4, 4)
    upper = (lower + 0.1).clamp(max=1)
    batch = torch.export.Dim("batch")
    # Its optimizer takes a factor of 1 - 2^-17 for 1 and drops it, and the rounding margin with it.
    program = torch.onnx.export(
        module, (lower[:2], upper[:2]), dynamo=True, dynamic_shapes=({0: batch}, {0: batch}), verbose=False,
        optimize=False,
    )  # fmt: skip
    assert program is not None
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, (lower.numpy(), upper.numpy()), strict=True)))
    assert outputs[0].dtype == np.float64
    np.testing.assert_allclose(outputs[0], module(lower, upper).detach().numpy(), rtol=1e-6, atol=1e-6)

    w1, b1, w2, b2 = (rational(p.detach().numpy()) for p in net.parameters())
    for row in range(3):
        hidden = relu(*affine(w1, b1, *(rational(x[row].numpy().ravel()) for x in (lower, upper))))
        assert (rational(outputs[0][row]) >= differences(w2, b2, *hidden)).all()
