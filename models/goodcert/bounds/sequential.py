"""From an nn.Sequential to a graph whose constants are the live parameters: the same rules bound a network
while it is trained, with gradients through them, and after it was exported."""

from torch import Tensor, nn

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node


def graph_of(net: nn.Sequential, input_shape: tuple[int, int, int]) -> Graph:
    """The graph of Conv2d, Linear, ReLU and Flatten layers on images of shape (C, H, W).

    Raises Unsupported for another layer.
    """
    nodes: list[Node] = []
    constants: dict[str, Tensor] = {}
    value = "images"
    for name, layer in net.named_children():
        inputs = [value]
        for parameter, tensor in layer.named_parameters():
            constants[f"{name}.{parameter}"] = tensor
            inputs.append(f"{name}.{parameter}")
        op, attributes = _operator(name, layer)
        value = f"{name}.out"
        nodes.append(Node(op, tuple(inputs), value, attributes, name))
    return Graph("images", (None, *input_shape), (value,), tuple(nodes), constants)


def _operator(name: str, layer: nn.Module) -> tuple[str, dict[str, object]]:
    match layer:
        case nn.Conv2d(padding=tuple(padding)):
            return "Conv", {
                "strides": list(layer.stride),
                "pads": [*padding, *padding],
                "dilations": list(layer.dilation),
                "group": layer.groups,
            }
        case nn.Linear():
            return "Gemm", {"transB": 1}
        case nn.ReLU():
            return "Relu", {}
        case nn.Flatten(start_dim=1):
            return "Flatten", {"axis": 1}
    raise Unsupported(f"layer {name!r} ({type(layer).__name__}): expected Conv2d, Linear, ReLU or Flatten")
