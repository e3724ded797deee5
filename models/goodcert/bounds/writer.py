"""From a graph back to an ONNX model: the one that ONNX Runtime is given."""

import onnx
from onnx import TensorProto, helper, numpy_helper

from goodcert.bounds.graph import Graph, Node


def write_graph(graph: Graph) -> onnx.ModelProto:
    """A model with a free batch axis that computes the graph's outputs."""
    shape = ["N", *graph.input_shape[1:]]
    proto = helper.make_graph(
        [_node(node) for node in graph.nodes],
        "goodcert",
        [helper.make_tensor_value_info(graph.input, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in graph.outputs],
        [numpy_helper.from_array(value.detach().cpu().contiguous().numpy(), name)
         for name, value in graph.constants.items()],
    )  # fmt: skip
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)  # a valid file states the shapes of its outputs


def _node(node: Node) -> onnx.NodeProto:
    attributes, outputs, name = dict(node.attributes), [node.output], node.name
    if node.op == "Split":  # the other parts get names that nobody reads
        part, parts = attributes.pop("part"), attributes.pop("parts")
        outputs = [node.output if i == part else f"{node.output}/part{i}" for i in range(parts)]
        name = f"{node.name}/part{part}"  # ONNX Runtime wants no two nodes of one name
    return helper.make_node(node.op, node.inputs, outputs, name=name, **attributes)
