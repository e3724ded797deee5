"""The kernel check lets sums of products pass and catches every kernel that is something else."""

from typing import Any

import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from goodcert import engine
from goodcert.bounds.affine import by_windows
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rule import pad_order
from goodcert.engine import EngineError
from goodcert.engine.checks import kernel_check
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.checks.kernel_check import Layer, Run, examples, faithful, layers, onnx_layer, torch_layer
from graphs import classifier

CPU = torch.device("cpu")
BATCHES = (1, 2, 7, 16)


def conv(inputs: tuple[int, ...], weight: tuple[int, ...], **attributes: Any) -> Layer:
    return Layer(Node("Conv", ("x", "w"), "y", attributes, "conv"), inputs, weight)


def transposed(inputs: tuple[int, ...], weight: tuple[int, ...], **attributes: Any) -> Layer:
    return Layer(Node("ConvTranspose", ("x", "w"), "y", attributes, "transposed"), inputs, weight)


def dense(inputs: int, outputs: int, transposed: int = 1) -> Layer:
    weight = (outputs, inputs) if transposed else (inputs, outputs)
    return Layer(Node("Gemm", ("x", "w"), "y", {"transB": transposed}, "dense"), (inputs,), weight)


LAYERS = {
    "conv": conv((2, 6, 6), (5, 2, 3, 3), pads=[1, 1, 1, 1]),
    "strided": conv((3, 9, 8), (4, 3, 4, 2), strides=[2, 3], pads=[0, 1, 2, 1]),
    "dilated": conv((2, 9, 9), (3, 2, 3, 2), dilations=[2, 3]),
    "grouped": conv((4, 5, 5), (8, 2, 3, 3), group=2, pads=[1, 0, 1, 0]),
    "depthwise": conv((3, 5, 5), (3, 1, 3, 3), group=3),
    "pointwise": conv((16, 4, 4), (16, 16, 1, 1)),
    "one pixel": conv((7, 3, 3), (2, 7, 3, 3)),
    "1d": conv((2, 9), (3, 2, 4), pads=[2, 1]),
    "3d": conv((2, 4, 4, 4), (3, 2, 2, 3, 2)),
    "transposed": transposed((3, 5, 6), (3, 4, 3, 2)),
    "transposed, strided": transposed((2, 4, 5), (2, 3, 4, 3), strides=[2, 3], pads=[1, 0, 1, 2]),
    "transposed, dilated": transposed((2, 4, 5), (2, 3, 2, 2), dilations=[2, 3], pads=[1, 1, 0, 0]),
    "transposed, grouped": transposed((4, 4, 4), (4, 3, 3, 3), group=2, strides=[2, 2], output_padding=[1, 1]),
    "transposed, same": transposed((2, 4, 4), (2, 3, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed 1d": transposed((2, 9), (2, 3, 4), strides=[3]),
    "dense": dense(37, 11),
    "dense untransposed": dense(37, 11, 0),
    "dense wide": dense(5, 64),
    "matmul": Layer(Node("MatMul", ("x", "w"), "y", {}, "matmul"), (9, 37), (37, 6)),
}


def tf32(x: Tensor) -> Tensor:
    """The mantissa cut to 10 bits."""
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def rounded_tf32(x: Tensor) -> Tensor:
    """The mantissa rounded to 10 bits, halves up."""
    return tf32((x.contiguous().view(torch.int32) + 0x1000).view(torch.float32))


def two_bfloat16(x: Tensor) -> Tensor:
    """16 bits in two pieces, as kernels have them that make up for short operands."""
    high = x.bfloat16().float()
    return high + (x - high).bfloat16().float()


def unrounded(x: Tensor) -> Tensor:
    return x


def winograd(x: Tensor, weight: Tensor) -> Tensor:
    """F(2x2, 3x3) of Lavin and Gray, for even sizes and padding 1."""
    b = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    g = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    a = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])
    tiles = F.pad(x, [1] * 4).unfold(2, 4, 2).unfold(3, 4, 2)  # (N, C, th, tw, 4, 4)
    mixed = torch.einsum("nctuij,ocij->notuij", b @ tiles @ b.T, g @ weight @ g.T)
    y = a @ mixed @ a.T  # (N, O, th, tw, 2, 2)
    return y.permute(0, 1, 2, 4, 3, 5).reshape(len(x), len(weight), *x.shape[2:])


def through_fft(x: Tensor, weight: Tensor) -> Tensor:
    size = [s + 2 for s in x.shape[2:]]
    product = torch.einsum(
        "ncij,ocij->noij", torch.fft.rfft2(F.pad(x, [1] * 4)), torch.fft.rfft2(weight, s=size).conj()
    )
    return torch.fft.irfft2(product, s=size)[:, :, : x.shape[2], : x.shape[3]].contiguous()


def winograd_of_larger_tiles(x: Tensor, weight: Tensor) -> Tensor:
    """F(4x4, 3x3) of Lavin and Gray, for sizes that 4 divides and padding 1."""
    b = torch.tensor([
        [4.0, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
    ])  # fmt: skip
    g = torch.tensor([
        [6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24],
    ]) / 24  # fmt: skip
    a = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
    tiles = F.pad(x, [1] * 4).unfold(2, 6, 4).unfold(3, 6, 4)
    mixed = torch.einsum("nctuij,ocij->notuij", b @ tiles @ b.T, g @ weight @ g.T)
    y = a @ mixed @ a.T
    return y.permute(0, 1, 2, 4, 3, 5).reshape(len(x), len(weight), *x.shape[2:])


def shortened(layer: Layer, inputs: Any, weights: Any) -> Run:
    run = torch_layer(layer)
    return lambda x, weight: run(inputs(x), weights(weight))


@pytest.mark.parametrize("name", LAYERS)
def test_sums_of_float32_products_pass(name: str, device: str) -> None:
    layer = LAYERS[name]
    for batch in BATCHES:
        assert faithful(layer, torch_layer(layer), examples(layer, batch), torch.device(device))


@pytest.mark.parametrize("name", [name for name, layer in LAYERS.items() if layer.node.op == "Conv"])
def test_the_convolution_of_gpus_passes(name: str) -> None:
    layer = LAYERS[name]
    attributes, dims = layer.node.attributes, len(layer.inputs) - 1
    pads = attributes.get("pads", [0] * 2 * dims)
    strides, dilations = (attributes.get(key, [1] * dims) for key in ("strides", "dilations"))

    def run(x: Tensor, weight: Tensor) -> Tensor:
        padded = F.pad(x, pad_order(pads[:dims], pads[dims:]))
        return by_windows(padded, weight, None, strides, dilations, attributes.get("group", 1))

    assert all(faithful(layer, run, examples(layer, batch), CPU) for batch in BATCHES)


@pytest.mark.parametrize("name", LAYERS)
def test_onnx_runtime_passes(name: str) -> None:
    run = onnx_layer(LAYERS[name], 1)
    assert all(faithful(LAYERS[name], run, examples(LAYERS[name], batch), CPU) for batch in BATCHES)


SHORT = {
    "tf32": tf32,
    "tf32 rounded": rounded_tf32,
    "bfloat16": lambda x: x.bfloat16().float(),
    "two bfloat16": two_bfloat16,
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shorten", SHORT)
def test_shortened_operands_are_caught(name: str, shorten: str) -> None:
    layer, short = LAYERS[name], SHORT[shorten]
    for inputs, weights in ((short, short), (short, unrounded), (unrounded, short)):
        assert not any(
            faithful(layer, shortened(layer, inputs, weights), examples(layer, batch), CPU) for batch in BATCHES
        )


@pytest.mark.parametrize("run", [winograd, winograd_of_larger_tiles, through_fft])
@pytest.mark.parametrize("weight", [(4, 2, 3, 3), (1, 1, 3, 3), (9, 5, 3, 3)])
def test_convolutions_that_mix_neighbours_are_caught(run: Run, weight: tuple[int, ...]) -> None:
    layer = conv((weight[1], 8, 8), weight, pads=[1, 1, 1, 1])
    x, w = torch.rand(2, weight[1], 8, 8), torch.rand(weight)
    torch.testing.assert_close(run(x, w), F.conv2d(x, w, padding=1), rtol=1e-4, atol=1e-4)
    assert all(not faithful(layer, run, examples(layer, batch), CPU) for batch in BATCHES)


def test_a_kernel_that_loses_the_small_value_beside_the_huge_one_is_caught() -> None:
    def blocked(x: Tensor, weight: Tensor) -> Tensor:
        """Adds every input to a sum and takes it away again."""
        whole = x.sum(dim=1, keepdim=True)
        return whole - (whole - F.linear(x, weight))

    assert not faithful(LAYERS["dense"], blocked, examples(LAYERS["dense"], 4), CPU)


def test_a_transposed_convolution_returns_multiples_of_its_inputs_between_zeros() -> None:
    layer = transposed((1, 2), (1, 2, 2), strides=[3], pads=[0, 1])
    first, second = kernel_check.probe_weight(layer)[0]
    a, b = first[0].item(), second[1].item()
    x = torch.tensor([[[4.0, 8.0]]])
    assert kernel_check.picked(layer, x).tolist() == [[[4 * a, 0, 0, 8 * a], [0, 4 * b, 0, 0]]]


def test_layers_are_those_of_the_graph_in_their_own_shapes() -> None:
    found = layers(AdmittedGraph(read_graph(classifier())))
    assert [(x.node.op, x.inputs, x.weight) for x in found] == [
        ("Conv", (1, 8, 8), (4, 1, 3, 3)), ("Gemm", (64,), (12, 64)), ("Gemm", (12,), (10, 12)),
    ]  # fmt: skip


def test_a_graph_without_weights_has_no_layers() -> None:
    flatten = Node("Flatten", ("x",), "y", {})
    assert layers(AdmittedGraph(Graph("x", (None, 1, 2, 2), ("y",), (flatten,), {}))) == []


def test_checks_of_a_graph_pass_here(device: str) -> None:
    admitted = AdmittedGraph(read_graph(classifier()))
    kernel_check.check_prediction(admitted, 1, (1, 3, 16))
    kernel_check.check_bounds(admitted, torch.device(device), (16, 32))


def test_an_unfaithful_device_is_refused_by_node(monkeypatch: pytest.MonkeyPatch) -> None:
    model: onnx.ModelProto = classifier()
    monkeypatch.setattr(kernel_check, "torch_layer", lambda layer: shortened(layer, tf32, tf32))
    with pytest.raises(EngineError, match=r"'node0' \(Conv\): PyTorch on cpu does not compute it"):
        kernel_check.check_bounds(AdmittedGraph(read_graph(model)), CPU, (16,))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
def test_auto_takes_the_cpu_where_a_gpu_is_not_faithful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_check, "torch_layer", lambda layer: shortened(layer, tf32, tf32))
    assert engine.compile(classifier(), "auto").device == "cpu"
    with pytest.raises(EngineError, match=r"'node0' \(Conv\): PyTorch on cuda does not compute it"):
        engine.compile(classifier(), "cuda")


def test_weights_on_the_left_are_refused_by_node() -> None:
    node = Node("MatMul", ("w", "x"), "y", {}, "left")
    with pytest.raises(EngineError, match=r"'left' \(MatMul\): weights on the left"):
        layers(AdmittedGraph(Graph("x", (None, 1, 3, 2), ("y",), (node,), {"w": torch.ones(2, 3)})))
