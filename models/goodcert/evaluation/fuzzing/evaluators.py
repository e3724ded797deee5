"""What the very file computes: ONNX Runtime at every level of optimisation, onnx's reference, and PyTorch."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from goodcert.bounds.interpreter import prepare
from goodcert.bounds.interval import Interval
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import EXACT
from goodcert.engine.sessions import LEVELS, session

Images = NDArray[np.float32]
Evaluate = Callable[[Images], NDArray[np.float32]]
"""From images (N, C, H, W) to what the file gives, (N, K). Raises where the evaluator does not know the file."""

Make = Callable[[onnx.ModelProto], Evaluate]


def onnx_runtime(level: str, model: onnx.ModelProto) -> Evaluate:
    runtime, name = session(model.SerializeToString(), level), _input(model)
    return lambda images: np.asarray(runtime.run(None, {name: images})[0])


MISREAD: dict[str, tuple[str, Callable[[dict[str, Any], int, int], bool]]] = {
    "AveragePool": (
        "with ceil_mode, or VALID with dilations",
        lambda a, _o, _r: (
            bool(a.get("ceil_mode")) or (a.get("auto_pad") == b"VALID" and max(a.get("dilations", [1])) > 1)
        ),
    ),
    "BatchNormalization": ("of opsets 9 to 13, as in training", lambda _a, opset, _r: 9 <= opset <= 13),
    "ConvTranspose": ("in groups", lambda a, _o, _r: a.get("group", 1) > 1),
    "GlobalMaxPool": ("of other than two dimensions", lambda _a, _o, rank: rank != 4),
    "LRN": ("in as many channels as there are images", lambda _a, _o, _r: True),
    "LogSoftmax": ("as the logarithm of a share that underflows", lambda _a, _o, _r: True),
    "MaxPool": (
        "with pads, or SAME_LOWER",
        lambda a, _o, _r: any(a.get("pads", ())) or a.get("auto_pad") == b"SAME_LOWER",
    ),
}
"""Operators that onnx's reference does not compute as they are specified: when, in words and as a test of the
attributes, the opset and the rank of what is read. ONNX Runtime and PyTorch agree on them."""


def reference(model: onnx.ModelProto) -> Evaluate:
    opset, ranks = max(int(entry.version) for entry in model.opset_import), _ranks(model)
    for node in model.graph.node:
        rank = ranks.get(node.input[0], 0) if node.input else 0
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type in MISREAD and MISREAD[node.op_type][1](attributes, opset, rank):
            raise NotImplementedError(f"{node.op_type} {MISREAD[node.op_type][0]}")
    evaluator, name = ReferenceEvaluator(model), _input(model)

    def evaluate(images: Images) -> NDArray[np.float32]:
        with np.errstate(all="ignore"):
            return np.asarray(next(iter(evaluator.run(None, {name: images}))))

    return evaluate


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {value.name: len(value.type.tensor_type.shape.dim) for value in values}


def pytorch(model: onnx.ModelProto) -> Evaluate:
    """Node by node as the file says, nothing folded."""
    program = prepare(read_graph(model, fold_weights=False), EXACT)

    def evaluate(images: Images) -> NDArray[np.float32]:
        with torch.inference_mode():
            x = torch.from_numpy(images)
            return program(Interval(x, x))[0].centre.numpy()

    return evaluate


def _input(model: onnx.ModelProto) -> str:
    constants = {tensor.name for tensor in model.graph.initializer}
    return next(str(value.name) for value in model.graph.input if value.name not in constants)


EVALUATORS: dict[str, Make] = {
    **{f"ONNX Runtime, {level}": partial(onnx_runtime, level) for level in LEVELS},
    "PyTorch": pytorch,
    "onnx.reference": reference,
}
SLOW = frozenset({"onnx.reference"})
"""Given few points."""


def evaluators(model: onnx.ModelProto) -> Iterator[tuple[str, Evaluate | None]]:
    """Each by name; None for one that does not load the file."""
    for name, make in EVALUATORS.items():
        try:
            yield name, make(model)
        except Exception:  # noqa: BLE001  they fail with errors of all kinds
            yield name, None
