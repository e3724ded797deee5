"""From an nn.Sequential to a graph whose constants are the live parameters: the same rules bound a network
while it is trained, with gradients through them, and after it was exported."""

from torch import Tensor, nn

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph, Node


def graph_of(net: nn.Sequential, input_shape: tuple[int, int, int]) -> Graph:
    """The graph of Conv2d, Linear, ReLU and Flatten layers on images of shape (C, H, W).

    Raises Unsupported for anything else, subclasses and parametrized layers of these included.
    """
    nodes: list[Node] = []
    constants: dict[str, Tensor] = {}
    value = "images"
    for name, layer in net._modules.items():  # named_children() would leave out a layer's second use
        if layer is None:
            continue
        op, attributes = _operator(name, layer)
        parameters = dict(layer.named_parameters())
        constants |= {f"{name}.{parameter}": tensor for parameter, tensor in parameters.items()}
        inputs = (value, *(f"{name}.{parameter}" for parameter in parameters))
        value = f"{name}.out"
        nodes.append(Node(op, inputs, value, attributes, name))
    return Graph("images", (None, *input_shape), (value,), tuple(nodes), constants)


def _operator(name: str, layer: nn.Module) -> tuple[str, dict[str, object]]:
    plain = {parameter for parameter, _ in layer.named_parameters()} <= {"weight", "bias"}
    if type(layer) is nn.Conv2d and plain and layer.padding_mode == "zeros" and isinstance(layer.padding, tuple):
        return "Conv", {
            "strides": list(layer.stride),
            "pads": [*layer.padding, *layer.padding],
            "dilations": list(layer.dilation),
            "group": layer.groups,
        }
    if type(layer) is nn.Linear and plain:
        return "Gemm", {"transB": 1}
    if type(layer) is nn.ReLU:
        return "Relu", {}
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return "Flatten", {"axis": 1}
    raise Unsupported(
        f"layer {name!r} ({type(layer).__name__}): expected plain Conv2d with zero padding, Linear, ReLU or "
        "Flatten of everything but the batch"
    )
