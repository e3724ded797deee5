"""Operators that ONNX Runtime may put into a graph that it runs, in the place of those of the file.

Others are refused: a fusion that a newer ONNX Runtime brings is not trusted before somebody has looked at its
arithmetic.
"""

import onnx
import onnxruntime

from goodcert.engine.errors import EngineError

COVERED = {
    "com.microsoft:FusedConv": "a convolution, a branch that its sum starts with, and an exact activation",
    "com.microsoft:FusedGemm": "Gemm and an exact activation",
    "com.microsoft:FusedMatMul": "MatMul, transposed and times a number: counted by fusion.py",
    "com.microsoft:FusedMatMulActivation": "MatMul and an exact activation",
    "com.microsoft:BiasGelu": "Add and Gelu",
    "com.microsoft:BiasSoftmax": "Add and Softmax",
    "com.microsoft:Gelu": "the same function of the error function",
    "com.microsoft:QuickGelu": "x Sigmoid(alpha x)",
    "com.microsoft:SkipLayerNormalization": "Add and LayerNormalization",
    "com.microsoft.nchwc:AveragePool": "the operator, in blocks of channels",
    "com.microsoft.nchwc:Conv": "FusedConv, in blocks of channels",
    "com.microsoft.nchwc:GlobalAveragePool": "the operator, in blocks of channels",
    "com.microsoft.nchwc:GlobalMaxPool": "the operator, in blocks of channels",
    "com.microsoft.nchwc:MaxPool": "the operator, in blocks of channels",
    "com.microsoft.nchwc:ReorderInput": "moves data",
    "com.microsoft.nchwc:ReorderOutput": "moves data",
    "com.microsoft.nchwc:Upsample": "Resize, in blocks of channels",
}
"""Operators that ONNX Runtime puts into a graph, and why the arithmetic of what they stand for covers theirs."""

REPLACEMENTS = frozenset({
    "Cast", "Clip", "Concat", "Constant", "Conv", "Div", "Expand", "Flatten", "Gather", "Gemm", "Identity",
    "MatMul", "Max", "Min", "Mul", "Reshape", "Shape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
})  # fmt: skip
"""Standard operators that it may put in the place of others: moves, and affine ones that fusion.py counts."""


def require_known(model: onnx.ModelProto, runs: onnx.ModelProto, level: str) -> None:
    """Raises EngineError, by node, where `runs`, which ONNX Runtime made of `model`, has an operator that is
    neither the model's nor known."""
    own = {kind for node in model.graph.node for kind in (_kind(node), *_body(node, _opset(model)))}
    for node in runs.graph.node:
        kind = _kind(node)
        if kind not in own and kind not in COVERED and kind not in REPLACEMENTS:
            raise EngineError(
                f"node {node.name!r}: ONNX Runtime {onnxruntime.__version__} puts {kind} into the graph at level "
                f"{level!r}, whose arithmetic the proofs do not cover; export the model with that operator itself"
            )


def _opset(model: onnx.ModelProto) -> int:
    return next(int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx"))


def _body(node: onnx.NodeProto, opset: int) -> list[str]:
    """The operators by which the specification defines this one: a runtime without a kernel of its own runs
    them."""
    if node.domain not in ("", "ai.onnx"):
        return []
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    return [inner.op_type for inner in schema.function_body.node]


def _kind(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}:{node.op_type}"
