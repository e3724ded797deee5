"""Windows of random shapes: what ONNX Runtime computes lies in the bounds at a point, or the node is refused."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from goodcert.bounds import Unsupported, interval_outputs
from graphs import onnx_model

OPERATORS = ("AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool")
OPSETS = (*range(7, 14), *range(17, 26))
CHANNELS = 4
FAST, ALL = range(4), range(4, 64)
"""Seeds of 150 windows each."""


class Windowed(NamedTuple):
    operator: str
    model: onnx.ModelProto
    x: NDArray[np.float32]
    attributes: dict[str, Any]


def windowed(random: np.random.Generator) -> Windowed:
    """A node whose window and image are small, so that they meet in every way."""

    def several(low: int, high: int, count: int) -> list[int]:
        return [int(n) for n in random.integers(low, high, count)]

    op, opset, dims = str(random.choice(OPERATORS)), int(random.choice(OPSETS)), int(random.integers(1, 4))
    pool, kernel, sizes = op.endswith("Pool"), several(1, 5, dims), several(1, 8, dims)
    attributes: dict[str, Any] = {"kernel_shape": kernel} if pool or random.random() < 0.5 else {}
    first = {"AveragePool": (19, 10), "LpPool": (18, 18), "MaxPool": (10, 10)}.get(op, (1, 99))
    if random.random() < 0.7:
        attributes["strides"] = several(1, 5, dims)
    if opset >= first[0] and random.random() < 0.4:
        attributes["dilations"] = several(1, 4, dims)
    if opset >= first[1] and random.random() < 0.4:
        attributes["ceil_mode"] = 1
    match random.choice(["pads", "auto_pad", "neither"], p=[0.45, 0.35, 0.2]):
        case "pads":
            limits = kernel * 2 if pool and random.random() < 0.9 else [4] * (2 * dims)
            attributes["pads"] = [int(random.integers(0, limit)) for limit in limits]
        case "auto_pad":
            attributes["auto_pad"] = str(random.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    if op == "AveragePool" and random.random() < 0.4:
        attributes["count_include_pad"] = 1
    if op == "ConvTranspose" and random.random() < 0.4:
        attributes[str(random.choice(["output_padding", "output_shape"]))] = several(0, 9, dims)
    constants = {} if pool else _weights(op, kernel, attributes, random)
    model = onnx_model([(op, ["x", *constants], "y", attributes)], constants, [1, CHANNELS, *sizes], opset=opset)
    x = (random.standard_normal((1, CHANNELS, *sizes)) * 8).astype(np.float32)
    return Windowed(op, model, x, {"opset": opset, "sizes": sizes, "kernel": kernel, **attributes})


def _weights(
    op: str, kernel: list[int], attributes: dict[str, Any], random: np.random.Generator
) -> dict[str, NDArray[np.float32]]:
    groups = attributes["group"] = int(random.choice([1, 2, CHANNELS]))
    shape = (CHANNELS, CHANNELS // groups, *kernel)
    constants = {"w": random.standard_normal(shape).astype(np.float32)}
    if random.random() < 0.5:
        constants["b"] = random.standard_normal(CHANNELS).astype(np.float32)
    return constants


def computed(model: onnx.ModelProto, x: NDArray[np.float32], level: Any) -> NDArray[np.float32] | None:
    """None where ONNX Runtime refuses it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads, options.graph_optimization_level = 4, 1, level
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
        (y,) = session.run(None, {"x": x})
    except Exception:  # noqa: BLE001  its error types have no common public class
        return None
    return np.asarray(y)


def verdict(case: Windowed) -> str:
    """`contained`, `refused`, `refused by the runtime`, or what is wrong."""
    try:
        (lower,), (upper,) = interval_outputs(case.model, case.x, case.x)
    except Unsupported as error:
        named = "'node0'" in str(error) or "valid ONNX" in str(error)
        return "refused" if named else f"refused without a name: {error}"
    levels = onnxruntime.GraphOptimizationLevel
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):
        y = computed(case.model, case.x, level)
        if y is None:
            return "refused by the runtime"
        if y.shape != lower.shape or not ((lower <= y) & (y <= upper)).all():
            return f"{lower.shape} for {y.shape}, or a value outside"
    return "contained" if np.isfinite(upper - lower).all() else "infinite"


@pytest.mark.parametrize("seed", [*FAST, *(pytest.param(seed, marks=pytest.mark.slow) for seed in ALL)])
def test_a_window_is_bounded_as_the_runtime_computes_it_or_refused_by_node(seed: int) -> None:
    random = np.random.default_rng(seed)
    cases = [windowed(random) for _ in range(150)]
    verdicts = [verdict(case) for case in cases]
    fine = ("contained", "refused", "refused by the runtime")
    assert [(v, c.operator, c.attributes) for v, c in zip(verdicts, cases, strict=True) if v not in fine] == []
    contained = Counter(c.operator for v, c in zip(verdicts, cases, strict=True) if v == "contained")
    assert all(contained[op] >= 3 for op in OPERATORS if op != "LpPool"), contained


SAME = ("SAME_UPPER", "SAME_LOWER")
REFUSED = [
    *(("MaxPool", {"kernel_shape": [5], "strides": [stride]}, "longer than the padded") for stride in (1, 2, 3)),
    ("MaxPool", {"kernel_shape": [2, 6], "strides": [1, 2], "pads": [1, 0, 0, 1]}, "longer than the padded"),
    ("MaxPool", {"kernel_shape": [3], "dilations": [2]}, "longer than the padded"),
    ("AveragePool", {"kernel_shape": [5], "strides": [2], "ceil_mode": 1}, "longer than the padded"),
    *((op, {"kernel_shape": [1], "strides": [4], "auto_pad": rule}, "auto_pad SAME; write pads")
      for op in ("AveragePool", "MaxPool", "Conv", "ConvTranspose") for rule in SAME),
    ("AveragePool", {"kernel_shape": [1, 2], "strides": [4, 1], "auto_pad": "SAME_UPPER"}, "write pads"),
    ("AveragePool", {"kernel_shape": [2], "pads": [2, 0]}, "pads shorter than the kernel"),
    ("MaxPool", {"kernel_shape": [2], "pads": [1, 1], "auto_pad": "SAME_UPPER"}, "pads or auto_pad"),
    ("MaxPool", {"kernel_shape": [2], "strides": [0]}, "at least 1 as strides|valid ONNX|fit together"),
    ("MaxPool", {"kernel_shape": [2], "dilations": [0]}, "dilations|valid ONNX|fit together"),
    ("MaxPool", {"kernel_shape": [2], "pads": [-1, 0]}, "pads|valid ONNX|fit together"),
    ("AveragePool", {"kernel_shape": [2], "strides": [3], "auto_pad": "VALID", "ceil_mode": 1}, "VALID|inference"),
    ("MaxPool", {"kernel_shape": [1], "strides": [2], "ceil_mode": 1}, "shape inference"),
    ("Conv", {"kernel_shape": [5]}, "longer than the padded"),
    ("Conv", {"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_LOWER"}, "no dilations"),
    ("ConvTranspose", {"kernel_shape": [2], "output_padding": [1]}, "less than a stride"),
    ("ConvTranspose", {"kernel_shape": [1], "pads": [2, 2]}, "at least one number"),
    ("ConvTranspose", {"kernel_shape": [2], "output_shape": [9]}, "less than a stride"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attributes", "reason"), REFUSED)
def test_a_window_of_which_tools_disagree_is_refused_by_node_and_reason(
    op: str, attributes: dict[str, Any], reason: str
) -> None:
    kernel = attributes["kernel_shape"]
    constants = {} if op.endswith("Pool") else {"w": np.ones((1, 1, *kernel), np.float32)}
    x = np.ones((1, 1, *[4] * len(kernel)), np.float32)
    model = onnx_model([(op, ["x", *constants], "y", attributes)], constants, x.shape)
    with pytest.raises(Unsupported, match=rf"'node0' \({op}\).*({reason})|valid ONNX.*node0"):
        interval_outputs(model, x, x)


def test_a_window_whose_gaps_meet_pads_alone_is_refused() -> None:
    model = onnx_model(
        [("MaxPool", ["x"], "y", {"kernel_shape": [2], "dilations": [2], "pads": [1, 1]})], {}, [1, 1, 1]
    )
    x = np.ones((1, 1, 1), np.float32)
    with pytest.raises(Unsupported, match=r"'node0' \(MaxPool\): expected windows that meet a pixel each"):
        interval_outputs(model, x, x)


def test_a_last_window_that_begins_in_the_pads_is_left_out_where_the_text_of_onnx_says_so() -> None:
    """From opset 22 on; before, shape inference counts it."""
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    model = onnx_model(
        [("MaxPool", ["x"], "y", {"kernel_shape": [1], "strides": [2], "ceil_mode": 1})], {}, x.shape, opset=22
    )
    assert interval_outputs(model, x, x)[0][0].tolist() == [[[0, 2]]]
