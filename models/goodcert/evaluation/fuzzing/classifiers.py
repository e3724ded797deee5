"""Random classifiers: each reproducible from a seed and its number, led by one version of one operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, defs, helper

from goodcert.bounds.validation import NEWEST_OPSET, OLDEST_OPSET
from goodcert.evaluation.fuzzing.draft import IMAGE, Draft, NoFit
from goodcert.evaluation.fuzzing.layers import LAYERS, flat
from goodcert.evaluation.fuzzing.moves import MOVES, VANISHING
from goodcert.evaluation.fuzzing.pointwise import POINTWISE, Make
from goodcert.evaluation.fuzzing.structures import STRUCTURES, silent
from goodcert.evaluation.fuzzing.weights import numbers

MAKERS: Mapping[str, Make] = {**POINTWISE, **LAYERS, **MOVES}
"""One for every operator that has a rule."""

_COMMON = [*MAKERS.values(), *VANISHING.values()]
_SIZES = ((1, 3, 3), (2, 3, 4), (1, 4, 5), (3, 3, 3), (1, 2, 2), (2, 7, 7), (1, 6, 3), (4, 2, 5))


@dataclass(frozen=True)
class RandomClassifier:
    """model: the file. led_by: the version of the operator that it was made for, such as `MaxPool-12`. hints:
    images (C, H, W) that may trigger something."""

    model: onnx.ModelProto
    led_by: str
    hints: tuple[NDArray[np.float32], ...]

    @property
    def opset(self) -> int:
        return next(int(o.version) for o in self.model.opset_import if not o.domain)

    @property
    def versions(self) -> frozenset[str]:
        """The operators it holds that have a rule, each with the opset that gave it its present meaning."""
        held = {node.op_type for node in self.model.graph.node} & MAKERS.keys()
        return frozenset(f"{op}-{defs.get_schema(op, self.opset, '').since_version}" for op in held)


def versions() -> dict[str, range]:
    """Every version of every operator that has a rule, such as `MaxPool-12`, with the opsets it is for."""
    found: dict[str, list[int]] = {}
    for operator in sorted(MAKERS):
        for opset in range(OLDEST_OPSET, NEWEST_OPSET + 1):
            if Draft(np.random.default_rng(0), opset, (1,)).knows(operator):
                since = defs.get_schema(operator, opset, "").since_version
                found.setdefault(f"{operator}-{since}", []).append(opset)
    return {name: range(opsets[0], opsets[-1] + 1) for name, opsets in found.items()}


VERSIONS = versions()


def make(seed: int, index: int, leaders: Sequence[str] = tuple(VERSIONS)) -> RandomClassifier:
    """The classifier of this number: the same on every machine with the same version of NumPy and onnx.

    leaders: the versions of operators, of `VERSIONS`, that classifiers are made for in turn.
    """
    random = np.random.default_rng([seed, index])
    led_by = leaders[index % len(leaders)]
    opsets = VERSIONS[led_by]
    while True:
        opset = int(random.integers(opsets.start, opsets.stop))
        draft = Draft(random, opset, _SIZES[int(random.integers(len(_SIZES)))])
        try:
            model = finished(draft, _grow(draft, led_by.split("-")[0]))
        except NoFit:
            continue
        made = RandomClassifier(model, led_by, tuple(draft.hints))
        if led_by in made.versions:  # else what follows it does not read it
            return made


def finished(draft: Draft, values: list[str]) -> onnx.ModelProto:
    """A classifier by what these values tell of an image."""
    return _model(draft, _head(draft, values))


def _grow(draft: Draft, operator: str) -> list[str]:
    """The values that the logits are made of, one of them from the operator."""
    value = _tried(draft, silent, IMAGE) if draft.chance(0.4) else IMAGE
    for _ in range(draft.whole(0, 2)):
        value = _anything(draft, value)
    value = MAKERS[operator](draft, value)
    led = value
    for _ in range(draft.whole(0, 3)):
        value = _anything(draft, value)
    if draft.chance(0.3):
        value = _tried(draft, STRUCTURES[draft.pick(("collapse", "largest_of_each"))], value)
    branches = [value, led] if draft.chance(0.2) else [value]
    if draft.chance(0.3):
        branches.append(_anything(draft, draft.pick([*draft.shapes])))
    return branches


def _anything(draft: Draft, x: str) -> str:
    if draft.chance(0.35):
        return _tried(draft, draft.pick([*STRUCTURES.values()]), x)
    return _tried(draft, draft.pick(_COMMON), x)


def _tried(draft: Draft, make: Make, x: str) -> str:
    """x itself where it does not fit."""
    before = len(draft.nodes)
    try:
        return make(draft, x)
    except NoFit:
        del draft.nodes[before:]
        return x


def _head(draft: Draft, branches: list[str]) -> str:
    """Logits (N, K) of useful size."""
    classes = draft.whole(2, 5)
    rows = [flat(draft, branch) for branch in dict.fromkeys(branches)]
    x = draft.node("Concat", rows, axis=1) if len(rows) > 1 else rows[0]
    (features,) = draft.shapes[x]
    weight = numbers(draft, (features, classes), features) * 2.0 ** draft.whole(-1, 5)
    if not np.ptp(weight, axis=1).any():
        weight = draft.random.standard_normal(weight.shape)
    bias = draft.constant(numbers(draft, (classes,), 1))
    match draft.pick(("Gemm", "Gemm", "MatMul", "Conv", "scaled")):
        case "Gemm":
            rows_first = draft.chance(0.5)
            value = draft.constant(weight.T if rows_first else weight)
            y = draft.node("Gemm", [x, value, bias], transB=int(rows_first))
        case "MatMul":
            y = draft.node("Add", [draft.node("MatMul", [x, draft.constant(weight)]), bias])
        case "Conv":
            pixels = draft.node("Reshape", [x, draft.integers([0, features, 1, 1])])
            kernel = draft.constant(weight.T.reshape(classes, features, 1, 1))
            y = draft.node("Flatten", [draft.node("Conv", [pixels, kernel, bias])])
        case _:
            y = draft.node("MatMul", [x, draft.constant(weight)])
            y = draft.node("Mul", [y, draft.constant(np.float32(draft.pick((0.3, 3.0, -2.0))))])
    match draft.pick(("plain",) * 8 + ("Softmax", "LogSoftmax")):
        case "plain":
            return y
        case operator:
            return draft.node(operator, [y], axis=1)


def _model(draft: Draft, output: str) -> onnx.ModelProto:
    """The file, as several tools would write it."""
    info = helper.make_tensor_value_info
    inputs = [info(IMAGE, TensorProto.FLOAT, ["N", *draft.shapes[IMAGE]])]
    outputs = [info(output, TensorProto.FLOAT, ["N", *draft.shapes[output]])]
    listed = draft.chance(0.1)  # initializers among the inputs, as files before version 4 have them
    if listed:
        inputs += [info(tensor.name, tensor.data_type, tensor.dims) for tensor in draft.initializers]
    graph = helper.make_graph(_needed(draft, output), "random", inputs, outputs, draft.initializers)
    imports = [helper.make_opsetid("", draft.opset)]
    if draft.chance(0.01):  # said twice, and not alike
        second = helper.make_opsetid("ai.onnx", draft.whole(OLDEST_OPSET, NEWEST_OPSET))
        imports.insert(draft.whole(0, 1), second)
    version = helper.find_min_ir_version_for(imports[:1] if imports[0].domain == "" else imports[1:])
    return helper.make_model(graph, opset_imports=imports, ir_version=max(3 if listed else 4, version))


def _needed(draft: Draft, output: str) -> list[onnx.NodeProto]:
    """Without most of what no output depends on."""
    if draft.chance(0.05):
        return draft.nodes
    needed, nodes = {output}, []
    for node in reversed(draft.nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    return nodes[::-1]
