"""Translation validation at load: what ONNX Runtime computes for every node lies where our rule says.

A rule says what an operator means; the runtime decides what it does. The two are held against each other for the
very file that will be certified, node by node: in the file as it is written, and in the graphs that ONNX Runtime
makes of it at every level of optimisation. Every node is fed directly (witnesses.py), beside all others in one
model whose nodes do not read each other, so that no node can hide what another does. Its values must have the
shape that the rule gives and lie in the rule's box at radius 0.

In an optimised graph a node may stand for several of the file: FusedConv for Conv, BatchNormalization and Relu,
say. Values keep their names, so the rules of what the file has between the same names say what it must give.
Values in the layout of the blocked kernels are put into it, and taken out of it, by ONNX Runtime's own
reorderings.

What ONNX Runtime puts into a graph must be listed (node_types.py).
"""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from goodcert.bounds.interval import Interval
from goodcert.engine.checks.admitted_graph import AdmittedGraph
from goodcert.engine.checks.file_values import Array, FileValues
from goodcert.engine.checks.separate_nodes import SeparateNode, parts
from goodcert.engine.errors import EngineError
from goodcert.engine.node_types import require_known
from goodcert.engine.remembered import Remembered
from goodcert.engine.sessions import LEVELS, optimised


def check(model: onnx.ModelProto, written: AdmittedGraph, remembered: Remembered | None = None) -> None:
    """Raises EngineError, by node and operator, where ONNX Runtime contradicts a rule.

    model: the file; written: what the reader makes of it without folding weights. remembered: of a file that
    passed before, which is not held against ONNX Runtime again.
    """
    if remembered is not None and remembered.validated:
        return
    data = model.SerializeToString()
    values = FileValues.of(model, written)
    seen: set[bytes] = set()
    for level in LEVELS:
        runs = model if level == "none" else optimised(data, level)
        require_known(model, runs, level)
        for part in parts(model, runs, values, seen):
            runtime = part.session(values)
            for turn in range(values.rounds):
                for node, value in zip(part.nodes, part.run(runtime, values, turn), strict=True):
                    _compare(node, value, values.box(node.makes, node.reads, turn), level)
    if remembered is not None:
        remembered.set_validated()


def _compare(node: SeparateNode, value: Array, box: Interval, level: str) -> None:
    where = f"node {node.proto.name!r} ({node.proto.op_type})"
    version = f"ONNX Runtime {onnxruntime.__version__} at level {level!r}"
    if tuple(value.shape) != tuple(box.lower.shape) or 0 in value.shape:
        raise EngineError(f"{where}: {version} gives it shape {value.shape}, its rule {tuple(box.lower.shape)}")
    outside = _outside(value, box)
    if outside.any():
        at = tuple(int(i) for i in np.argwhere(outside)[0])
        raise EngineError(
            f"{where}: {version} computes {value[at]!r} at {at}, its rule says {float(box.lower[at])!r} to "
            f"{float(box.upper[at])!r}; what the runtime makes of this node is not what is bounded"
        )


def _outside(value: Array, box: Interval) -> NDArray[np.bool_]:
    """Where the rule promises something else. It promises nothing where it gives no finite box."""
    lower, upper = box.lower.numpy(), box.upper.numpy()
    promised = np.isfinite(lower) & np.isfinite(upper)
    return np.asarray(promised & ~((lower <= value) & (value <= upper)))
