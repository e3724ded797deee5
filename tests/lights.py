"""The `light` ImageNet classifiers that ship in the onnx package: the graphs of nine published networks. Their
weights are constants, under which every bound is trivial, so they get random ones here.

Weights are an eighth of what He et al. (2015) draw, and biases keep the activations alive. Under the whole of it
the margin for rounding alone grows tenfold a layer, and after some twenty layers nothing finite would be left to
test.
"""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.helper import make_tensor_value_info

from goodcert.bounds import interval_outputs

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
SHAPE = (1, 3, 224, 224)
NAMES = (
    "squeezenet", "shufflenet", "inception_v1", "densenet121", "resnet50", "inception_v2", "bvlc_alexnet",
    "zfnet512", "vgg19",
)  # fmt: skip
GAIN = 1 / 8
LIGHTEST = NAMES[:3]


def light(name: str, seed: int = 0, gain: float = GAIN) -> onnx.ModelProto:
    """The classifier with random weights; its outputs are its own, and those of all pools and dense layers."""
    random = np.random.default_rng(seed)
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    model.ir_version = 8  # older ones want every weight among the inputs too
    stored = {init.name: init for init in model.graph.initializer}
    (image,) = (value for value in model.graph.input if value.name not in stored)
    del model.graph.input[:]
    model.graph.input.append(image)
    # Branches add up: without a smaller scale, sixteen of them would blow the sum up.
    norm = 0.7 if any(node.op_type == "Sum" for node in model.graph.node) else 1.0
    for node in [node for node in model.graph.node if node.op_type == "ConstantOfShape"]:
        shape = numpy_helper.to_array(stored[node.input[0]])
        value = _weights(random, *_reader(model, node.output[0]), tuple(int(n) for n in shape), norm, gain)
        model.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        model.graph.node.remove(node)
    for node in model.graph.node:
        if "Pool" in node.op_type or node.op_type == "Gemm":
            shape = [None] * (2 if node.op_type == "Gemm" else 4)
            model.graph.output.append(make_tensor_value_info(node.output[0], TensorProto.FLOAT, shape))
    return model


def _reader(model: onnx.ModelProto, name: str) -> tuple[str, int]:
    """The operator that reads a constant, and as which of its inputs; through Unsqueeze."""
    node, place = next((n, i) for n in model.graph.node for i, used in enumerate(n.input) if used == name)
    return _reader(model, node.output[0]) if node.op_type == "Unsqueeze" else (node.op_type, place)


def _weights(
    random: np.random.Generator, op: str, place: int, shape: tuple[int, ...], norm: float, gain: float
) -> NDArray[np.float32]:
    values: NDArray[Any] = random.standard_normal(shape, dtype=np.float32)
    if place == 1 and op in ("Conv", "Gemm"):
        return values * np.float32(gain * np.sqrt(2 / np.prod(shape[1:])))
    if op == "Mul" or (op == "BatchNormalization" and place in (1, 4)):
        return np.exp(values * np.float32(0.2)) * np.float32(norm if place == 1 else 1.0)
    return values * np.float32(0.1)


def measure(name: str) -> None:
    """Print, as JSON, the widest interval of every output at a point and on a ball around it, whether what ONNX
    Runtime computes lies inside, and the most memory in use until the bounds were there, in bytes."""
    model = light(name)
    x = np.random.default_rng(1).random(SHAPE, dtype=np.float32)
    boxes = [(np.maximum(x - reach, 0), np.minimum(x + reach, 1)) for reach in np.float32([0, 1e-3])]
    bounds = [interval_outputs(model, *box) for box in boxes]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    run = _runtime(model)
    contained = all(
        bool(((low <= y) & (y <= high)).all())
        for box, (lower, upper) in zip(boxes, bounds, strict=True)
        for point in _points(*box)
        for y, low, high in zip(run(point), lower, upper, strict=True)
    )
    widths = [[float((b - a).max()) for a, b in zip(*pair, strict=True)] for pair in bounds]
    print(json.dumps({"widths": widths, "contained": contained, "peak": peak}))  # noqa: T201  for the parent process


def _points(lower: NDArray[np.float32], upper: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """A corner and a point inside; one point where that is all there is."""
    random = np.random.default_rng(2)
    shares = (random.integers(0, 2, SHAPE), random.random(SHAPE))
    inside = [np.clip(lower + np.float32(share) * (upper - lower), lower, upper) for share in shares]
    return inside if (lower < upper).any() else inside[:1]


def _runtime(model: onnx.ModelProto) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda x: list(session.run(None, {session.get_inputs()[0].name: x}))
