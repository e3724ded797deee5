"""Kernels of one function: those that ONNX Runtime and PyTorch run on this processor.

Vectorised kernels treat the last few values of a vector, those that fill no register, by other code. So each is
called on whole vectors and on rows so short that most of their values are among the last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from goodcert.evaluation.functions import Array, Deployed

ROW = 31
"""Values in a short row: of registers of 16, 8 or 4 as many as there can be, and 15, 7 or 3 values left over."""

_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Kernel:
    """whole: results for a vector (N,). rows: results for rows (N, `ROW`), each computed on its own."""

    runtime: str
    whole: Callable[[Array], Array]
    rows: Callable[[Array], Array]


def kernels(function: Deployed) -> tuple[Kernel, ...]:
    return onnx_kernel(function), torch_kernel(function)


def torch_kernel(function: Deployed) -> Kernel:
    """In the thread that calls. Short rows lie one value apart, so that they are no longer one vector."""

    def whole(x: Array) -> Array:
        return np.asarray(function.torch(*map(torch.from_numpy, function.operands(x))).numpy())

    def rows(x: Array) -> Array:
        apart = (torch.from_numpy(np.pad(operand, [(0, 0), (0, 1)]))[:, :ROW] for operand in function.operands(x))
        return np.asarray(function.torch(*apart).numpy())

    return Kernel("PyTorch", whole, rows)


def onnx_kernel(function: Deployed) -> Kernel:
    """With one thread. Short rows are nodes of their own in a graph that splits its input."""
    vector = _session(_model(function))
    split = _session(_split_model(function))

    def run(session: onnxruntime.InferenceSession, operands: tuple[Array, ...]) -> Array:
        return np.asarray(session.run(None, {f"x{i}": operand for i, operand in enumerate(operands)})[0])

    def rows(x: Array) -> Array:
        padded = np.pad(x, [(0, -len(x) % _ROWS_AT_ONCE), (0, 0)], mode="edge").reshape(-1, _ROWS_AT_ONCE * ROW)
        made = [run(split, function.operands(part)) for part in padded]
        return np.concatenate(made).reshape(-1, ROW)[: len(x)]

    return Kernel("ONNX Runtime", lambda x: run(vector, function.operands(x)), rows)


def _model(function: Deployed) -> onnx.ModelProto:
    names = _operand_names(function)
    return _written(function, [_node(function, names, "y")], [], ["N"])


def _split_model(function: Deployed) -> onnx.ModelProto:
    """From `_ROWS_AT_ONCE` rows after each other to the results, row by row."""
    names = _operand_names(function)
    parts = [[f"{name}/{i}" for name in names] for i in range(_ROWS_AT_ONCE)]
    sizes = numpy_helper.from_array(np.full(_ROWS_AT_ONCE, ROW, np.int64), "sizes")
    splits = [
        helper.make_node("Split", [name, "sizes"], list(rows))
        for name, rows in zip(names, zip(*parts, strict=True), strict=True)
    ]
    nodes = [_node(function, part, f"y/{i}") for i, part in enumerate(parts)]
    joined = helper.make_node("Concat", [f"y/{i}" for i in range(_ROWS_AT_ONCE)], ["y"], axis=0)
    return _written(function, [*chain(splits, nodes), joined], [sizes], [_ROWS_AT_ONCE * ROW])


def _operand_names(function: Deployed) -> list[str]:
    return ["x0"] if function.second is None else ["x0", "x1"]


def _node(function: Deployed, inputs: list[str], output: str) -> onnx.NodeProto:
    constants = [] if function.constant is None else ["constant"]
    return helper.make_node(function.operator, [*inputs, *constants], [output], **function.attributes)


def _written(
    function: Deployed, nodes: list[Any], constants: list[TensorProto], shape: list[Any]
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in _operand_names(function)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    if function.constant is not None:
        constants = [*constants, numpy_helper.from_array(np.array(function.constant, np.float32), "constant")]
    graph = helper.make_graph(nodes, function.operator, inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", function.opset)], ir_version=8)


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
