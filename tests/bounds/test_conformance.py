"""The cases that ship with onnx, through `interval_outputs`: the first float input varies, the others are weights.

What is supported must contain the stored answer, tightly where it is a single operator, and whatever ONNX Runtime
computes at random points of a box, whose bounds are wider; what is not must be refused by the operator's name.
"""

import json
import re
import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from goodcert.bounds import Unsupported, interval_outputs

RADIUS = np.float32(2**-6)
STATED = Path(__file__).parents[2] / "docs/conformance.json"
"""What docs/operators.md says about these cases, written by scripts/conformance.py."""


class Case(NamedTuple):
    name: str
    model: onnx.ModelProto
    inputs: list[NDArray[Any]]
    outputs: list[NDArray[Any]]


@cache
def cases() -> list[Case]:
    """Every case of tensors whose first float32 input and outputs are float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [
            case
            for kind in ("node", "simple", "pytorch-converted", "pytorch-operator")
            for test in load_model_tests(kind=kind)
            if (case := _case(test)) is not None
        ]
    return [case for case in found if _in_float32(case)]


def _case(test: Any) -> Case | None:
    if test.model is not None:
        inputs, outputs = test.data_sets[0]
        return Case(test.name, test.model, list(inputs), list(outputs))
    folder = Path(test.model_dir)
    try:
        inputs, outputs = (_tensors(folder / "test_data_set_0", side) for side in ("input", "output"))
    except Exception:  # noqa: BLE001  a case of sequences or maps
        return None
    return Case(test.name, onnx.load(folder / "model.onnx"), inputs, outputs)


def _tensors(folder: Path, side: str) -> list[NDArray[Any]]:
    count = len(list(folder.glob(f"{side}_*.pb")))
    return [
        numpy_helper.to_array(onnx.load_tensor_from_string((folder / f"{side}_{i}.pb").read_bytes()))
        for i in range(count)
    ]


def _in_float32(case: Case) -> bool:
    standard = all(o.domain in ("", "ai.onnx") and o.version >= 7 for o in case.model.opset_import)
    kinds = [v.type.tensor_type.elem_type for v in case.model.graph.input]
    return (
        standard
        and TensorProto.FLOAT in kinds
        and all(isinstance(value, np.ndarray) for value in (*case.inputs, *case.outputs))
        and all(value.dtype == np.float32 for value in case.outputs)
        and not any(value is None for value in case.inputs)
    )


def fixed(case: Case) -> tuple[onnx.ModelProto, NDArray[np.float32]]:
    """The model with all inputs but the first float one as initializers, and that input's value."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    stored = {init.name for init in model.graph.initializer}
    free = [value for value in model.graph.input if value.name not in stored]
    pairs = list(zip(free, case.inputs, strict=True))
    varying, point = next(p for p in pairs if p[0].type.tensor_type.elem_type == TensorProto.FLOAT)
    for value, array in pairs:
        if value is not varying:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    del model.graph.input[:]
    model.graph.input.append(varying)
    return model, np.asarray(point, np.float32)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> list[NDArray[np.float32]] | None:
    """ONNX Runtime's answer; None where it has no such operator."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        return list(session.run(None, {session.get_inputs()[0].name: x}))
    except Exception:  # noqa: BLE001  its error types have no common public class
        return None


def operators(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def inside(values: list[Any], lower: list[Any], upper: list[Any]) -> bool:
    return all(bool(((a <= x) & (x <= b)).all()) for x, a, b in zip(values, lower, upper, strict=True))


# Its answer is stored with four digits.
STORED_WITH_FOUR_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}


def verdict(case: Case) -> str:
    """`contained`, `refused`, or what is wrong."""
    try:
        model, x = fixed(case)
    except StopIteration:
        return "skipped"
    if np.isnan(x).any():
        return "skipped"
    try:
        lower, upper = interval_outputs(model, x, x)
    except Unsupported as error:
        named = (
            any(op in str(error) for op in operators(model)) or "inputs" in str(error) or "outputs" in str(error)
        )
        return "refused" if named else f"refused without a name: {error}"
    if any(a.shape != y.shape for a, y in zip(lower, case.outputs, strict=True)):
        return f"shape {[a.shape for a in lower]} for {[y.shape for y in case.outputs]}"
    slack = 1e-4 if case.name in STORED_WITH_FOUR_DIGITS else 0.0
    if not inside(case.outputs, [a - slack for a in lower], [b + slack for b in upper]):
        return f"stored answer outside by {worst(case.outputs, lower, upper)}"
    if len(model.graph.node) == 1 and not tight(lower, upper, case.outputs):
        return "loose"
    return sampled(model, x, lower, upper)


def worst(values: list[Any], lower: list[Any], upper: list[Any]) -> float:
    return max(float(np.maximum(a - y, y - b).max()) for y, a, b in zip(values, lower, upper, strict=True))


def tight(lower: list[Any], upper: list[Any], outputs: list[Any]) -> bool:
    """Wherever the answer is finite, the bounds are apart by at most a thousandth of the largest answer."""
    return all(
        bool((b - a <= 1e-3 * max(1e-3, float(abs(y[np.isfinite(y)]).max(initial=0)))).all())
        for a, b, y in zip(lower, upper, outputs, strict=True)
        if np.isfinite(y).all()
    )


def sampled(model: onnx.ModelProto, x: NDArray[np.float32], least: list[Any], most: list[Any]) -> str:
    """least, most: the bounds at x."""
    random, values = np.random.default_rng(0), []
    try:
        low, high = x - RADIUS, x + RADIUS
        lower, upper = interval_outputs(model, low, high)
    except Unsupported:
        return "contained"  # the box holds points without a value
    for _ in range(4):
        share = random.choice([random.random(x.shape), np.round(random.random(x.shape))]).astype(np.float32)
        computed = run(model, np.clip(low + share * (high - low), low, high).astype(np.float32))
        if computed is not None and not inside(computed, lower, upper):
            return f"sampled answer outside by {worst(computed, lower, upper)}"
        values.append(computed)
    if not inside(least, lower, upper) or not inside(most, lower, upper):
        return "bounds of a point that leave those of a box around it"
    return "contained" if wider(lower, upper, least, most) or flat(values) else "no wider on a box than at a point"


def wider(lower: list[Any], upper: list[Any], least: list[Any], most: list[Any]) -> bool:
    return all(bool((b - a > d - c).any()) for a, b, c, d in zip(lower, upper, least, most, strict=True) if a.size)


def flat(values: list[Any]) -> bool:
    """Whether every point gave the same, as steps do; also where ONNX Runtime has no such operator."""
    return all(
        value is None or all(np.array_equal(a, b, equal_nan=True) for a, b in zip(value, values[0], strict=True))
        for value in values
    )


@cache
def verdicts() -> dict[str, str]:
    return {case.name: verdict(case) for case in cases()}


def stated() -> dict[str, Any]:
    """What there is to say: how many cases have each verdict, and which operators are refused how often."""
    counts = Counter(verdicts().values())
    refused = Counter(refusing(case) for case in cases() if verdicts()[case.name] == "refused")
    return {
        "onnx": onnx.__version__,
        **{name: counts[name] for name in ("contained", "refused", "skipped")},
        "operators": dict(sorted(refused.items())),
    }


def refusing(case: Case) -> str:
    """The operator at which a case is refused; where that is a weight, one that reads it."""
    model, x = fixed(case)
    with pytest.raises(Unsupported) as caught:
        interval_outputs(model, x, x)
    found = re.search(r"node .*? \((\w+)\)|read by (\w+)", str(caught.value))
    return (found[1] or found[2]) if found else "other"


def test_every_case_is_contained_or_refused_by_name() -> None:
    assert {name: v for name, v in verdicts().items() if v not in ("contained", "refused", "skipped")} == {}


def test_the_documents_state_what_is_measured() -> None:
    told = json.loads(STATED.read_text(encoding="utf-8"))
    if told["onnx"] != onnx.__version__:
        pytest.skip(f"measured with onnx {told['onnx']}, this is {onnx.__version__}")
    assert stated() == told, "run scripts/conformance.py"
