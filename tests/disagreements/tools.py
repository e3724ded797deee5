"""What a disagreement is, and what tools make of a model file."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from goodcert import engine
from goodcert.bounds import Unsupported, interval_outputs
from goodcert.engine.errors import EngineError
from goodcert.engine.sessions import session
from graphs import Operation, onnx_model

F32 = NDArray[np.float32]
Sizes = tuple[int | None, ...]
"""None for an axis that is open."""


@dataclass(frozen=True)
class Rejection:
    """A tool does not take the file."""

    reason: str


Reading = F32 | Sizes | Rejection
"""The output, or its shape where a tool tells no more, or why there is none."""


@dataclass(frozen=True)
class Disagreement:
    """tools: the first says otherwise than each of the others. refusal: what the reason says, a regular
    expression; none where the bounds hold for all of them. own: tools that read this model alone, by name."""

    name: str
    does: str
    tools: tuple[str, ...]
    model: onnx.ModelProto
    x: F32
    refusal: str = ""
    own: Mapping[str, Callable[[F32], F32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """Some that have the same remedy."""

    title: str
    instead: str
    entries: tuple[Disagreement, ...]


# --- tools --------------------------------------------------------------------------------------------

RUNTIME, BASIC, ALL = "ONNX Runtime", "ONNX Runtime at level basic", "ONNX Runtime at level all"
REFERENCE, INFERENCE, CHECKER, PYTORCH = "onnx.reference", "onnx's shape inference", "onnx's checker", "PyTorch"


def _runtime(level: str) -> Callable[[onnx.ModelProto, F32], Reading]:
    def run(model: onnx.ModelProto, x: F32) -> F32:
        return np.asarray(session(model.SerializeToString(), level).run(None, {"x": x})[0])

    return run


def _reference(model: onnx.ModelProto, x: F32) -> Reading:
    return np.asarray(ReferenceEvaluator(model).run(None, {"x": x})[0])


def _inference(model: onnx.ModelProto, x: F32) -> Reading:
    """Of the output, whatever the file states about it."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    bare.graph.output[0].type.tensor_type.ClearField("shape")
    made = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True, data_prop=True)
    axes = made.graph.output[0].type.tensor_type.shape.dim
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in axes)


def _checker(model: onnx.ModelProto, x: F32) -> Reading:
    onnx.checker.check_model(model, full_check=True)
    return _inference(model, x)


TOOLS: Mapping[str, Callable[[onnx.ModelProto, F32], Reading]] = {
    RUNTIME: _runtime("none"), BASIC: _runtime("basic"), ALL: _runtime("all"), REFERENCE: _reference,
    INFERENCE: _inference, CHECKER: _checker,
}  # fmt: skip


def read(entry: Disagreement, tool: str) -> Reading:
    """What the tool makes of the model."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return entry.own[tool](entry.x) if tool in entry.own else TOOLS[tool](entry.model, entry.x)
    except Exception as error:  # noqa: BLE001  every tool has errors of its own
        return Rejection(str(error))


def differ(a: Reading, b: Reading) -> bool:
    """Whether one refuses what the other takes, their shapes do not fit, or some value is another by more than
    roundings, 2^-16 of the largest."""
    if isinstance(a, Rejection) or isinstance(b, Rejection):
        return isinstance(a, Rejection) != isinstance(b, Rejection)
    if isinstance(a, tuple) or isinstance(b, tuple):
        return not _fits(_sizes(a), _sizes(b))
    if a.shape != b.shape:
        return True
    largest = float(np.abs(a[np.isfinite(a)]).max(initial=0))
    close = np.isclose(a, b, rtol=0, atol=2.0**-16 * largest, equal_nan=True)
    return not bool(close.all())


def _sizes(reading: F32 | Sizes) -> Sizes:
    return reading if isinstance(reading, tuple) else reading.shape


def _fits(a: Sizes, b: Sizes) -> bool:
    return len(a) == len(b) and all(None in pair or pair[0] == pair[1] for pair in zip(a, b, strict=True))


def refusal(entry: Disagreement) -> str:
    """Why the model is refused; empty where it is bounded. Images (N, C, H, W) go through all of what a classifier
    goes through."""
    try:
        if entry.x.ndim == 4:
            engine.compile(entry.model, threads=1)
        else:
            interval_outputs(entry.model, entry.x, entry.x)
    except (EngineError, Unsupported) as error:
        return str(error)
    return ""


# --- models -------------------------------------------------------------------------------------------


def counted(*shape: int) -> F32:
    """1, 2, 3, ...: no two alike."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def chain(
    operations: Sequence[Operation], constants: Mapping[str, Any], shape: Sequence[int], opset: int = 17
) -> onnx.ModelProto:
    """From `x` (N, ...) through the operations, the last of which makes `h`, to rows of numbers, `y`."""
    known = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    return onnx_model([*operations, ("Flatten", ["h"], "y", {})], known, ["N", *shape], opset=opset)
