"""Model files that nobody should load, a line each where a line says it: name, file, and what a refusal must name.

Most are one good classifier of (N, 1, 4, 4) images with one thing wrong: nodes that stand before its layers, a
weight, a field of the file.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import pairwise
from typing import Any
from zipfile import ZipFile

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from goodcert.artifact import Metadata

CLASSES, SIDE = 3, 4
METADATA = Metadata(
    labels=("a", "b", "c"), height=SIDE, width=SIDE, color="grey", epsilon="0.1", threshold=0.5, method="Plain"
)
SIDECAR = b"""labels = ["a", "b", "c"]\nheight = 4\nwidth = 4\ncolor = "grey"\nepsilon = "0.1"\nthreshold = 0.5
method = "Plain"\n"""

Change = Callable[[onnx.ModelProto], object]
Nodes = Sequence[onnx.NodeProto]


@dataclass(frozen=True)
class Hostile:
    """make: the bytes of the file. culprit: what the reason must say, a regular expression. sidecar: its bytes, or
    None where there is none. family: what it is counted under."""

    name: str
    make: Callable[[], bytes]
    culprit: str
    sidecar: bytes | None = None
    family: str = ""


def good() -> bytes:
    return model().SerializeToString()


def model(
    before: Nodes = (),
    constants: Mapping[str, np.ndarray] | None = None,
    shape: Sequence[Any] = ("N", 1, SIDE, SIDE),
    weight: onnx.TensorProto | np.ndarray | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Images `x`, the nodes `before`, which make `h` of it, then Flatten and Gemm."""
    made = weight if weight is not None else np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, CLASSES)
    tensors = [made if isinstance(made, onnx.TensorProto) else numpy_helper.from_array(made, "w")]
    tensors += [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    nodes = [*before, node("Flatten", ["h" if before else "x"], "f"), node("Gemm", ["f", "w"], "y")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, ["N", CLASSES])],
        tensors,
    )
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(built, METADATA.to_props())
    return built


def node(op: str, inputs: Sequence[str], output: str | Sequence[str] = "h", **attributes: Any) -> onnx.NodeProto:
    outputs = [output] if isinstance(output, str) else list(output)
    return helper.make_node(op, list(inputs), outputs, name=f"the {op}", **attributes)


def before(*nodes: onnx.NodeProto, **constants: Any) -> bytes:
    return model(nodes, {name: _array(value) for name, value in constants.items()}).SerializeToString()


def _array(value: Any) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    whole = isinstance(value, int) or (isinstance(value, list) and all(isinstance(v, int) for v in value))
    return np.array(value, np.int64 if whole else np.float32)


def changed(change: Change) -> bytes:
    made = model()
    change(made)
    return made.SerializeToString()


def weights(value: onnx.TensorProto | np.ndarray) -> bytes:
    return model(weight=value).SerializeToString()


def tensor(
    kind: int = TensorProto.FLOAT, dims: Sequence[int] = (16, CLASSES), raw: bytes = b""
) -> onnx.TensorProto:
    return onnx.TensorProto(name="w", data_type=kind, dims=dims, raw_data=raw)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def sizes(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# --- files that are none ------------------------------------------------------------------------------


def _nest(depth: int) -> bytes:
    """Graphs in attributes of nodes of graphs: fields 7 (the graph of a model), then 1, 5 and 6, `depth` times."""
    inner = b""
    for field in (6, 5, 1) * depth:
        inner = bytes([field << 3 | 2]) + _varint(len(inner)) + inner
    return b"\x3a" + _varint(len(inner)) + inner


def _varint(number: int) -> bytes:
    digits = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def _zip() -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
    return buffer.getvalue()


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "metadata|ONNX|no graph"),
    "zeros": (lambda: bytes(100), "ONNX"),
    "noise": (lambda: np.random.default_rng(0).bytes(4096), "ONNX"),
    "text": (lambda: b"<!doctype html><title>404</title>", "ONNX"),
    "a pickle": (lambda: b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", "ONNX"),
    "an archive of weights": (_zip, "ONNX"),
    "a PNG": (lambda: b"\x89PNG\r\n\x1a\n" + bytes(64), "ONNX"),
    "gzip of a good model": (lambda: gzip.compress(good()), "ONNX"),
    "half a model": (lambda: good()[: len(good()) // 2], "ONNX"),
    "all but the last byte": (lambda: good()[:-1], "ONNX"),
    "a length beyond the end": (lambda: b"\x3a\xff\xff\xff\xff\x07" + good(), "ONNX"),
    "a nest of messages": (lambda: _nest(2000), "ONNX"),
    "two models in one": (lambda: good() + good(), "duplicate"),
    "metadata without a graph": (lambda: changed(lambda m: m.ClearField("graph")), "graph"),
}


# --- what the file says about itself -------------------------------------------------------------------


def _saying(**entries: str) -> bytes:
    made = model()
    helper.set_model_props(
        made, METADATA.to_props() | {f"goodcert.{name}": text for name, text in entries.items()}
    )
    return made.SerializeToString()


def _bare() -> bytes:
    return changed(lambda m: m.ClearField("metadata_props"))


def _repeat_metadata(made: onnx.ModelProto) -> None:
    made.metadata_props.add(key="goodcert.threshold", value="0.9")


SAYINGS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no metadata": (_bare, "missing.*labels"),
    "an unknown entry": (lambda: _saying(treshold="0.5"), "treshold"),
    "an entry twice": (lambda: changed(_repeat_metadata), "duplicate"),
    "a threshold of NaN": (lambda: _saying(threshold="NaN"), "threshold"),
    "a threshold beyond 1": (lambda: _saying(threshold="1.5"), "threshold"),
    "a default radius beyond 1": (lambda: _saying(epsilon="2"), "epsilon"),
    "labels for other classes": (lambda: _saying(labels='["a", "b"]'), "classes"),
    "a label that is no text": (lambda: _saying(labels='["a", "b", 3]'), "labels"),
    "half a surrogate in a label": (lambda: _saying(labels=r'["a", "b", "\ud800"]'), "labels.*Unicode"),
    "a label of a megabyte": (lambda: _saying(labels=json.dumps(["a", "b", "c" * 2**20])), "labels.*characters"),
    "a head on a plain classifier": (lambda: _saying(head="y"), "head.*none"),
    "the size of another input": (lambda: _saying(height="5"), r"metadata.*\(1, 5, 4\)"),
    "no height at all": (lambda: _saying(height="0"), "size"),
    "a height of 400 digits": (lambda: _saying(height="9" * 400), "height"),
    "a recipe nested a thousand times": (lambda: _saying(recipe='{"a":' * 1000 + "1" + "}" * 1000), "recipe"),
    "a recipe nested a million times": (lambda: _saying(recipe="[" * 10**6), "recipe"),
    "a number beyond 64 bits": (lambda: _saying(results=json.dumps({"n": 2**70})), "results.*64 bits"),
    "half a document": (lambda: _saying(recipe='{"a":'), "recipe.*JSON"),
    "a rule that is none": (lambda: _saying(resize="lanczos"), "resize"),
    "a format of the future": (lambda: _saying(format_version="99"), "format_version"),
}

SIDECARS: dict[str, tuple[Callable[[], bytes], str, bytes]] = {
    "a sidecar beside metadata": (good, "remove one", SIDECAR),
    "an empty sidecar": (_bare, "missing labels", b""),
    "a misspelling in a sidecar": (_bare, "treshold.*threshold", SIDECAR.replace(b"threshold", b"treshold")),
    "a sidecar that is no TOML": (_bare, "TOML", b"\x00\xff\x00"),
    "a nest in a sidecar": (_bare, "TOML|deep", b"labels = " + b"[" * 100_000),
    "a sidecar of megabytes": (_bare, "bytes", b"#" * 2**21),
    "a radius that is no text": (_bare, "epsilon", SIDECAR.replace(b'"0.1"', b"0.1")),
}


# --- the graph as a whole -------------------------------------------------------------------------------


def _second_input(made: onnx.ModelProto) -> None:
    made.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 1]))


def _second_output(made: onnx.ModelProto) -> None:
    made.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", 16]))


def _input_type(kind: int) -> bytes:
    return changed(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", kind))


def _sequence_input(made: onnx.ModelProto) -> None:
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 1, SIDE, SIDE])
    made.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(kind))


def _cycle(made: onnx.ModelProto) -> None:
    made.graph.node[0].input[0] = "y"


def _again(what: str) -> Change:
    return lambda made: getattr(made.graph, what).append(getattr(made.graph, what)[0])


def _opset(domain: str, version: int) -> Change:
    def change(made: onnx.ModelProto) -> None:
        del made.opset_import[:]
        made.opset_import.append(helper.make_opsetid(domain, version))

    return change


def _functions(made: onnx.ModelProto, count: int = 40, domain: str = "bomb", name: str = "f") -> None:
    """Each function calls the next one twice: 2^40 nodes when expanded."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    for i in range(count):
        calls = [helper.make_node(f"{name}{i + 1}", [a], [b], domain=domain) for a, b in (("a", "b"), ("b", "c"))]
        last = [helper.make_node("Relu", ["a"], ["c"])]
        body = calls if i < count - 1 else last
        made.functions.append(helper.make_function(domain, f"{name}{i}", ["a"], ["c"], body, opsets))
    made.opset_import.append(helper.make_opsetid(domain, 1))


def _function_bomb(made: onnx.ModelProto) -> None:
    _functions(made)
    made.graph.node[0].input[0] = "h"
    made.graph.node.insert(0, helper.make_node("f0", ["x"], ["h"], name="the bomb", domain="bomb"))


def _own_relu(made: onnx.ModelProto) -> None:
    body = [helper.make_node("Neg", ["a"], ["c"])]
    made.functions.append(helper.make_function("", "Flatten", ["a"], ["c"], body, [helper.make_opsetid("", 17)]))


def _outputless(made: onnx.ModelProto) -> None:
    del made.graph.output[:]


def _inputless(made: onnx.ModelProto) -> None:
    del made.graph.input[:]


def _nodeless(made: onnx.ModelProto) -> None:
    del made.graph.node[:]


def _rename(place: int, field: str, text: str) -> Change:
    return lambda made: setattr(made.graph.node[place], field, text)


def _output(name: str) -> Change:
    return lambda made: setattr(made.graph.output[0], "name", name)


def _opsetless(made: onnx.ModelProto) -> None:
    del made.opset_import[:]


GRAPHS: dict[str, tuple[Change, str]] = {
    "no nodes": (_nodeless, "y|outputs|graph"),
    "no output": (_outputless, "output"),
    "no input": (_inputless, "x|inputs"),
    "a second input": (_second_input, r"inputs \['x', 'z'\]"),
    "a second output": (_second_output, "outputs"),
    "an output twice": (_again("output"), "output|y"),
    "an input twice": (_again("input"), "x|inputs"),
    "a weight twice": (_again("initializer"), "w"),
    "a node twice": (_again("node"), "f"),
    "an input that is a sequence": (_sequence_input, "x"),
    "a cycle": (_cycle, "y|Flatten"),
    "a node that reads itself": (lambda m: m.graph.node[0].input.__setitem__(0, "f"), "f|Flatten"),
    "a node that reads nothing known": (lambda m: m.graph.node[0].input.__setitem__(0, "ghost"), "ghost"),
    "a node that writes the input": (lambda m: m.graph.node[0].output.__setitem__(0, "x"), "x|Flatten"),
    "nodes in the wrong order": (lambda m: m.graph.node.append(m.graph.node.pop(0)), "f|Gemm"),
    "an output that is the input": (_output("x"), "output|x"),
    "an output that is a weight": (_output("w"), "w"),
    "an output that nothing makes": (_output("ghost"), "ghost"),
    "an operator without a name": (_rename(0, "op_type", ""), r"the Flatten"),
    "an operator that ONNX does not have": (_rename(0, "op_type", "Obfuscate"), "Obfuscate"),
    "an operator of another's domain": (_rename(0, "domain", "com.microsoft"), "com.microsoft"),
    "an operator for machine learning": (_rename(0, "domain", "ai.onnx.ml"), "ai.onnx.ml"),
    "an operator for training": (_rename(0, "domain", "ai.onnx.preview.training"), "training"),
    "an operator of a strange domain": (_rename(0, "domain", "../../lib"), "domain"),
    "an operator with a name of megabytes": (_rename(0, "op_type", "A" * 2**22), "AAAA"),
    "no opset": (_opsetless, "opset|Flatten"),
    "opset 1": (_opset("", 1), "Gemm:1|opset 1"),
    "opset 999": (_opset("", 999), "opset"),
    "a negative opset": (_opset("", -3), "opset|version"),
    "opsets of strangers only": (_opset("stranger", 1), "opset|Flatten|domain"),
    "a file version of the future": (lambda m: setattr(m, "ir_version", 10**6), "version"),
    "no file version": (lambda m: m.ClearField("ir_version"), "version"),
    "a function bomb": (_function_bomb, "bomb"),
    "functions that nothing calls": (_functions, "function"),
    "a function in the place of an operator": (_own_relu, "function|Flatten"),
    "training": (lambda m: m.training_info.add(), "train"),
}

KINDS = (
    "DOUBLE",
    "FLOAT16",
    "BFLOAT16",
    "INT64",
    "UINT8",
    "BOOL",
    "STRING",
    "COMPLEX64",
    "FLOAT8E4M3FN",
    "UNDEFINED",
)


# --- single nodes ---------------------------------------------------------------------------------------


def _body(nodes: Nodes, inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]]) -> onnx.GraphProto:
    values = [[helper.make_tensor_value_info(n, kind, None) for n, kind in side] for side in (inputs, outputs)]
    return helper.make_graph(list(nodes), "body", *values)


def _if(then: onnx.GraphProto) -> onnx.NodeProto:
    return node("If", ["flag"], then_branch=then, else_branch=then)


def _branch(depth: int) -> onnx.GraphProto:
    inner = (
        [node("Identity", ["x"], "out")]
        if not depth
        else [helper.make_node("If", ["flag"], ["out"], then_branch=_branch(depth - 1), else_branch=_branch(0))]
    )
    return _body(inner, [], [("out", TensorProto.FLOAT)])


def _endless() -> onnx.NodeProto:
    kinds = [("i", TensorProto.INT64), ("go", TensorProto.BOOL), ("v", TensorProto.FLOAT)]
    nodes = [node("Identity", ["go"], "goes"), node("Identity", ["v"], "out")]
    body = _body(nodes, kinds, [("goes", TensorProto.BOOL), ("out", TensorProto.FLOAT)])
    return node("Loop", ["", "flag", "x"], body=body)


def _scan() -> onnx.NodeProto:
    kinds = [("v", TensorProto.FLOAT)]
    return node("Scan", ["x"], body=_body([node("Relu", ["v"], "out")], kinds, [("out", 1)]), num_scan_inputs=1)


_TRUE = np.array(True)
CONTROL: dict[str, tuple[Callable[[], bytes], str]] = {
    "an endless Loop": (lambda: before(_endless(), flag=_TRUE), "Loop"),
    "an If": (lambda: before(_if(_branch(0)), flag=_TRUE), "If"),
    "a nest of Ifs": (lambda: before(_if(_branch(20)), flag=_TRUE), "If|ONNX"),
    "a Scan": (lambda: before(_scan()), "Scan"),
}

RANDOM: dict[str, tuple[Callable[[], bytes], str]] = {
    "RandomNormal": (lambda: before(node("RandomNormal", [], shape=[1, 1, 4, 4])), "RandomNormal"),
    "RandomUniform": (lambda: before(node("RandomUniform", [], shape=[1, 1, 4, 4])), "RandomUniform"),
    "RandomNormalLike": (lambda: before(node("RandomNormalLike", ["x"])), "RandomNormalLike"),
    "RandomUniformLike": (lambda: before(node("RandomUniformLike", ["x"])), "RandomUniformLike"),
    "noise that is added": (
        lambda: before(node("RandomNormalLike", ["x"], "r"), node("Add", ["x", "r"])),
        "RandomNormalLike",
    ),
    "Bernoulli": (lambda: before(node("Bernoulli", ["x"])), "Bernoulli"),
    "Multinomial": (lambda: before(node("Multinomial", ["x"])), "Multinomial"),
    "Dropout in training": (lambda: before(node("Dropout", ["x", "r", "t"]), r=0.5, t=_TRUE), "Dropout"),
    "Dropout whose mode varies": (
        lambda: before(node("Cast", ["x"], "t", to=TensorProto.BOOL), node("Dropout", ["x", "r", "t"]), r=0.5),
        "Dropout|Cast",
    ),
    "BatchNormalization in training": (
        lambda: before(
            node("BatchNormalization", ["x", "s", "b", "m", "v"], ["h", "m2", "v2"], training_mode=1),
            s=ones(1),
            b=ones(1),
            m=ones(1),
            v=ones(1),
        ),
        "BatchNormalization",
    ),
}


def _external(location: str, **more: str) -> onnx.TensorProto:
    made = tensor()
    made.ClearField("raw_data")
    made.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        made.external_data.add(key=key, value=value)
    return made


def _constant(value: onnx.TensorProto) -> bytes:
    return before(node("Constant", [], "c", value=value), node("Add", ["x", "c"]))


def _sparse() -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(ones(1), "s")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0]), "i"), [10**6, 10**6])


def _with(place: int, value: float) -> np.ndarray:
    made = np.full((16, CLASSES), 0.1, np.float32)
    made.flat[place] = value
    return made


def _both() -> onnx.TensorProto:
    made = numpy_helper.from_array(_with(0, 0), "w")
    made.float_data.extend([1.0] * 48)
    return made


def _subnormal_bomb() -> bytes:
    return before(
        *(node("Mul", [f"v{i - 1}" if i else "x", "c"], "h" if i == 9 else f"v{i}") for i in range(10)), c=1e30
    )


WEIGHTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "weights beside the file": (lambda: weights(_external("weights.bin")), "'w'.*external"),
    "weights above the folder": (lambda: weights(_external("../../../etc/passwd")), "'w'.*external"),
    "weights at the root": (lambda: weights(_external("/etc/passwd", offset="0", length="64")), "'w'.*external"),
    "weights from a device": (lambda: weights(_external("/dev/zero", length=str(2**50))), "'w'.*external"),
    "a constant beside the file": (lambda: _constant(_external("c.bin")), "external|Constant"),
    "sparse weights": (lambda: changed(lambda m: m.graph.sparse_initializer.append(_sparse())), "sparse"),
    "a sparse constant": (
        lambda: before(node("Constant", [], "c", sparse_value=_sparse()), node("Add", ["x", "c"])),
        "Constant|sparse",
    ),
    "NaN": (lambda: weights(_with(7, np.nan)), "'w'.*NaN"),
    "infinity": (lambda: weights(_with(0, np.inf)), "'w'.*NaN or inf"),
    "minus infinity": (lambda: weights(_with(47, -np.inf)), "'w'.*NaN or inf"),
    "NaN in a bias": (lambda: before(node("Add", ["x", "c"]), c=np.float32(np.nan)), "'c'.*NaN"),
    "NaN in a constant": (lambda: _constant(numpy_helper.from_array(np.array([np.nan], np.float32))), "c'?.*NaN"),
    "constants that add up to infinity": (
        lambda: before(node("Add", ["c", "c"], "d"), node("Add", ["x", "d"]), c=3e38),
        "NaN or inf",
    ),
    "constants divided by zero": (
        lambda: before(node("Div", ["c", "z"], "d"), node("Add", ["x", "d"]), c=1.0, z=0.0),
        "NaN or inf",
    ),
    "too few bytes": (lambda: weights(tensor(raw=bytes(8))), "w"),
    "too many bytes": (lambda: weights(tensor(raw=bytes(1000))), "w"),
    "no bytes": (lambda: weights(tensor()), "w"),
    "bytes that are no whole numbers": (lambda: weights(tensor(raw=bytes(191))), "w"),
    "the values twice": (lambda: weights(_both()), "w"),
    "a negative size": (lambda: weights(tensor(dims=(-16, CLASSES), raw=bytes(192))), "w|graph"),
    "a terabyte without bytes": (lambda: weights(tensor(dims=(2**20, 2**20))), "w"),
    "sizes beyond 64 bits": (lambda: weights(tensor(dims=(2**62, 2**62), raw=bytes(192))), "w"),
    "ten thousand axes": (lambda: weights(tensor(dims=(1,) * 10_000, raw=bytes(4))), "w|rank|Gemm|axes|graph"),
    "no weights at all": (lambda: weights(np.zeros((16, 0), np.float32)), "Gemm|output|w"),
    "double weights": (lambda: weights(np.ones((16, CLASSES))), "'w'|double|type"),
    "half weights": (lambda: weights(np.ones((16, CLASSES), np.float16)), "'w'|type"),
    "whole weights": (lambda: weights(np.ones((16, CLASSES), np.int8)), "'w'|type"),
    "weights that are text": (
        lambda: weights(helper.make_tensor("w", TensorProto.STRING, [1], [b"x"])),
        "'w'|type",
    ),
    "weights of no type": (lambda: weights(tensor(kind=0, raw=bytes(192))), "w"),
    "weights of an unknown type": (lambda: weights(tensor(kind=9999, raw=bytes(192))), "w"),
    "weights in segments": (lambda: weights(_segmented()), "w"),
}


def _segmented() -> onnx.TensorProto:
    made = numpy_helper.from_array(_with(0, 0), "w")
    made.segment.begin, made.segment.end = 0, 10**12
    return made


# --- shapes and bombs -----------------------------------------------------------------------------------

HUGE = 2**20
SHAPES: dict[str, tuple[Sequence[Any], str]] = {
    "an image of a trillion pixels": (("N", 1, HUGE, HUGE), "input"),
    "an image beyond 64 bits": (("N", 1, 2**40, 2**40), "input"),
    "an image without pixels": (("N", 1, 0, 4), "input shape|Gemm|x"),
    "an image of negative size": (("N", 1, -4, -4), "x|input"),
    "an image of any size": (("N", 1, "H", "W"), "input shape"),
    "rows without a shape": (("N", 16), "input shape"),
    "volumes": (("N", 1, 4, 2, 2), "input shape"),
    "a number": ((), "input shape|Flatten|shape"),
}


def _doubling(count: int) -> Iterator[onnx.NodeProto]:
    """2^count times the channels."""
    for i in range(count):
        name = "x" if not i else f"v{i - 1}"
        yield helper.make_node("Concat", [name, name], ["h" if i == count - 1 else f"v{i}"], f"double {i}", axis=1)


def _pair(first: onnx.NodeProto) -> tuple[onnx.NodeProto, ...]:
    """A constant `c` that is added to the images."""
    return first, node("Add", ["x", "c"])


def _chain(op: str, count: int) -> bytes:
    names = ["x", *(f"v{i}" for i in range(count - 1)), "h"]
    return before(*(helper.make_node(op, [a], [b]) for a, b in pairwise(names)))


def _conv(channels: int = 1, kernel: tuple[int, int] = (3, 3), **attributes: Any) -> bytes:
    return before(node("Conv", ["x", "k"], **attributes), k=ones(channels, 1, *kernel))


def _transposed(**attributes: Any) -> bytes:
    return before(node("ConvTranspose", ["x", "k"], **attributes), k=ones(1, 1, 3, 3))


BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "Expand of a constant": (
        lambda: before(*_pair(node("Expand", ["o", "s"], "c")), o=1.0, s=[HUGE, HUGE]),
        "Expand|Add",
    ),
    "Expand of the image": (lambda: before(node("Expand", ["x", "s"]), s=[1, HUGE, HUGE, 4]), "Expand"),
    "Tile of a constant": (lambda: before(*_pair(node("Tile", ["o", "s"], "c")), o=ones(1), s=[2**40]), "Tile"),
    "Tile of the image": (lambda: before(node("Tile", ["x", "s"]), s=[1, 1, HUGE, HUGE]), "Tile"),
    "ConstantOfShape": (
        lambda: before(*_pair(node("ConstantOfShape", ["s"], "c")), s=[HUGE, HUGE]),
        "ConstantOfShape",
    ),
    "ConstantOfShape of gigabytes": (
        lambda: before(*_pair(node("ConstantOfShape", ["s"], "c")), s=[2**14, 2**14]),
        "ConstantOfShape",
    ),
    "Range": (
        lambda: before(
            *_pair(node("Range", ["a", "b", "d"], "c")), a=np.int64(0), b=np.int64(2**40), d=np.int64(1)
        ),
        "Range",
    ),
    "Range that never ends": (
        lambda: before(*_pair(node("Range", ["a", "b", "d"], "c")), a=np.int64(0), b=np.int64(9), d=np.int64(0)),
        "Range",
    ),
    "Pad of a constant": (
        lambda: before(*_pair(node("Pad", ["o", "p"], "c")), o=ones(1), p=[2**39, 2**39]),
        "Pad",
    ),
    "Pad of the image": (lambda: before(node("Pad", ["x", "p"]), p=[0, 0, HUGE, HUGE, 0, 0, 0, 0]), "Pad"),
    "OneHot": (
        lambda: before(*_pair(node("OneHot", ["i", "d", "v"], "c")), i=[1], d=np.int64(2**40), v=[0, 1]),
        "OneHot",
    ),
    "EyeLike": (
        lambda: before(node("ConstantOfShape", ["s"], "z"), *_pair(node("EyeLike", ["z"], "c")), s=[HUGE, HUGE]),
        "ConstantOfShape|EyeLike",
    ),
    "Concat, doubled 40 times": (lambda: before(*_doubling(40)), "double|Concat"),
    "Resize": (lambda: before(node("Resize", ["x", "", "s"], mode="nearest"), s=[1.0, 1.0, 1e6, 1e6]), "Resize"),
    "Resize to sizes": (
        lambda: before(node("Resize", ["x", "", "", "s"], mode="nearest"), s=[1, 1, HUGE, HUGE]),
        "Resize",
    ),
    "a sum of two constants that broadcast": (
        lambda: before(*_pair(node("Add", ["a", "b"], "c")), a=ones(2**18, 1), b=ones(1, 2**18)),
        "Add|graph|memory",
    ),
    "a product that broadcasts": (
        lambda: before(node("Mul", ["x", "o"]), o=ones(2**13, 1, 2**13, 1)[:, :, :1]),
        "Mul",
    ),
    "ConvTranspose of huge strides": (lambda: _transposed(strides=[HUGE, HUGE]), "ConvTranspose"),
    "ConvTranspose with huge padding": (lambda: _transposed(output_padding=[2**40, 2**40]), "ConvTranspose"),
    "ConvTranspose to a huge shape": (lambda: _transposed(output_shape=[HUGE, HUGE]), "ConvTranspose"),
    "Conv with huge padding": (lambda: _conv(pads=[HUGE] * 4), "Conv"),
    "Conv with huge dilations": (lambda: _conv(dilations=[2**40, 2**40]), "Conv"),
    "MaxPool with huge padding": (
        lambda: before(node("MaxPool", ["x"], kernel_shape=[2**40, 2**40], pads=[2**40 - 4] * 4)),
        "MaxPool",
    ),
    "AveragePool with a huge kernel": (
        lambda: before(node("AveragePool", ["x"], kernel_shape=[2**40, 2**40])),
        "AveragePool",
    ),
    "Reshape to a trillion": (lambda: before(node("Reshape", ["x", "s"]), s=[-1, HUGE, HUGE]), "Reshape|shapes"),
    "DepthToSpace of huge blocks": (
        lambda: before(node("DepthToSpace", ["x"], blocksize=2**20)),
        "DepthToSpace|shape",
    ),
    "a Gather of a billion indices": (
        lambda: before(
            node("ConstantOfShape", ["s"], "z", value=helper.make_tensor("v", TensorProto.INT64, [1], [0])),
            node("Gather", ["x", "z"], axis=3),
            s=[2**30],
        ),
        "Gather|ConstantOfShape",
    ),
    "a chain of 20,000 nodes": (lambda: _chain("Relu", 20_000), "20002 nodes"),
    "ten thousand splits": (
        lambda: before(node("Split", ["x"], ["h", *(f"p{i}" for i in range(10**4))])),
        "Split",
    ),
}


# --- images that see each other, and nodes that mean nothing --------------------------------------------

COUPLED: dict[str, tuple[Callable[[], bytes], str]] = {
    "the mean of the batch": (
        lambda: before(node("ReduceMean", ["x"], "m", axes=[0]), node("Sub", ["x", "m"])),
        "ReduceMean",
    ),
    "the largest of the batch": (
        lambda: before(node("ReduceMax", ["x"], "m", axes=[0], keepdims=1), node("Sub", ["x", "m"])),
        "ReduceMax",
    ),
    "Softmax over the batch": (lambda: before(node("Softmax", ["x"], axis=0)), "Softmax"),
    "LogSoftmax over the batch": (lambda: before(node("LogSoftmax", ["x"], axis=0)), "LogSoftmax"),
    "Concat of batches": (lambda: before(node("Concat", ["x", "x"], axis=0)), "Concat"),
    "a turned batch": (lambda: before(node("Transpose", ["x"], perm=[1, 0, 2, 3])), "Transpose|batch of 2"),
    "a batch turned there and back": (
        lambda: before(
            node("Transpose", ["x"], "t", perm=[3, 1, 2, 0]),
            node("GlobalAveragePool", ["t"], "g"),
            node("Add", ["x", "g"]),
        ),
        "Transpose|GlobalAveragePool|batch of 2",
    ),
    "a batch as one image": (lambda: before(node("Reshape", ["x", "s"]), s=[1, 1, -1, 4]), "Reshape|batch of 2"),
    "images cut in two": (lambda: before(node("Reshape", ["x", "s"]), s=[-1, 1, 2, 4]), "Reshape|Flatten|Gemm|f"),
    "Flatten of the batch": (lambda: before(node("Flatten", ["x"], axis=0)), "Flatten|batch of 2"),
    "the first image for all": (
        lambda: before(node("Gather", ["x", "i"], "g", axis=0), node("Add", ["x", "g"]), i=[0]),
        "Gather",
    ),
    "a slice of the batch": (
        lambda: before(node("Slice", ["x", "a", "b", "d"], "g"), node("Add", ["x", "g"]), a=[0], b=[1], d=[0]),
        "Slice",
    ),
    "a batch turned around": (
        lambda: before(node("Slice", ["x", "a", "b", "d", "e"]), a=[-1], b=[-100], d=[0], e=[-1]),
        "Slice",
    ),
    "a running sum over the batch": (lambda: before(node("CumSum", ["x", "a"]), a=np.int64(0)), "CumSum"),
    "padding of the batch": (lambda: before(node("Pad", ["x", "p"]), p=[1, 0, 0, 0, 0, 0, 0, 0]), "Pad"),
    "a batch twice": (lambda: before(node("Tile", ["x", "s"]), s=[2, 1, 1, 1]), "Tile"),
    "images against images": (
        lambda: before(
            node("Flatten", ["x"], "a"),
            node("Transpose", ["a"], "t", perm=[1, 0]),
            node("MatMul", ["a", "t"]),
        ),
        "MatMul|Transpose|batch of 2",
    ),
    "weights that differ by place in the batch": (
        lambda: before(node("Add", ["x", "c"]), c=ones(2, 1, 1, 1)),
        "Add",
    ),
    "the best of the batch": (lambda: before(node("TopK", ["x", "k"], ["h", "i"], axis=0), k=[1]), "TopK"),
    "Einsum over the batch": (lambda: before(node("Einsum", ["x", "x"], equation="nchw,mchw->nmhw")), "Einsum"),
}

_OTHER_OPERATORS = {
    "ArgMax": {}, "CumSum": {}, "Det": {}, "NonZero": {}, "IsNaN": {}, "Not": {}, "Sin": {}, "Hardmax": {},
    "StringNormalizer": {}, "SequenceConstruct": {}, "Optional": {}, "OptionalGetElement": {},
    "DynamicQuantizeLinear": {},
    "ConvInteger": {}, "LSTM": {"hidden_size": 3}, "GRU": {"hidden_size": 3}, "RNN": {"hidden_size": 3},
    "NonMaxSuppression": {}, "Unique": {}, "Compress": {}, "GridSample": {}, "RoiAlign": {}, "BitwiseNot": {},
    "Shrink": {}, "MelWeightMatrix": {}, "DFT": {}, "STFT": {}, "SplitToSequence": {},
}  # fmt: skip

NONSENSE: dict[str, tuple[Callable[[], bytes], str]] = {
    "an unknown attribute": (lambda: before(node("Relu", ["x"], secret=1)), "Relu"),
    "an attribute of another type": (lambda: _conv(strides="two"), "Conv"),
    "an attribute twice": (lambda: _twice(), "alpha"),
    "strides of 0": (lambda: _conv(strides=[0, 0]), "Conv"),
    "negative strides": (lambda: _conv(strides=[-1, -1]), "Conv"),
    "dilations of 0": (lambda: _conv(dilations=[0, 0]), "Conv"),
    "no groups": (lambda: _conv(group=0), "Conv"),
    "groups that do not fit": (lambda: _conv(group=7), "Conv"),
    "a kernel of another shape": (lambda: _conv(kernel_shape=[5, 5]), "Conv"),
    "a kernel larger than the image": (lambda: _conv(kernel=(9, 9)), "Conv"),
    "negative padding": (lambda: _conv(pads=[-9, -9, -9, -9]), "Conv"),
    "three paddings": (lambda: _conv(pads=[1, 1, 1]), "Conv"),
    "a padding that is none": (lambda: _conv(auto_pad="A" * 10**7), "Conv"),
    "an axis that is not there": (lambda: before(node("Concat", ["x", "x"], axis=99)), "Concat"),
    "axes in no order": (lambda: before(node("Transpose", ["x"], perm=[0, 0, 0, 0])), "Transpose"),
    "two free sizes": (lambda: before(node("Reshape", ["x", "s"]), s=[-1, -1]), "Reshape"),
    "a shape that does not fit": (lambda: before(node("Reshape", ["x", "s"]), s=[-1, 7, 7]), "Reshape|batch"),
    "a slope of NaN": (lambda: before(node("LeakyRelu", ["x"], alpha=float("nan"))), "LeakyRelu"),
    "a scale of infinity": (
        lambda: changed(lambda m: m.graph.node[1].attribute.append(helper.make_attribute("alpha", float("inf")))),
        "Gemm|NaN or inf",
    ),
    "turned images": (
        lambda: changed(lambda m: m.graph.node[1].attribute.append(helper.make_attribute("transA", 1))),
        "Gemm|transA",
    ),
    "a negative variance": (
        lambda: before(
            node("BatchNormalization", ["x", "s", "b", "m", "v"]), s=ones(1), b=ones(1), m=ones(1), v=-ones(1)
        ),
        "BatchNormalization|NaN",
    ),
    "a logarithm of negative numbers": (
        lambda: before(node("Neg", ["x"], "n"), node("Sub", ["n", "c"], "m"), node("Log", ["m"]), c=1.0),
        "Log",
    ),
    "a root of negative numbers": (
        lambda: before(node("Sub", ["x", "c"], "m"), node("Sqrt", ["m"]), c=2.0),
        "Sqrt",
    ),
    "a division by an image": (lambda: before(node("Div", ["c", "x"]), c=1.0), "Div"),
    "whole numbers of an image": (lambda: before(node("Cast", ["x"], to=TensorProto.INT64)), "Cast"),
    "text of an image": (lambda: before(node("Cast", ["x"], to=TensorProto.STRING)), "Cast"),
    "halves of an image": (
        lambda: before(node("Cast", ["x"], "t", to=TensorProto.FLOAT16), node("Cast", ["t"], to=1)),
        "Cast",
    ),
    "no inputs": (lambda: before(node("Relu", [])), "Relu"),
    "too many inputs": (lambda: before(node("Relu", ["x", "x", "x"])), "Relu"),
    "a line forged in a name": (
        lambda: before(helper.make_node("Sin", ["x"], ["h"], name="a'\n2026 INFO goodcert: model served")),
        "Sin",
    ),
    "a name of megabytes": (lambda: before(helper.make_node("Sin", ["x"], ["h"], name="n" * 2**24)), "nnnn"),
    "one class": (lambda: weights(ones(16, 1)), "output shape|y"),
    "a hundred thousand classes": (lambda: weights(ones(16, 10**5)), "output shape|y"),
}


def _twice() -> bytes:
    made = node("LeakyRelu", ["x"], alpha=0.1)
    made.attribute.append(AttributeProto(name="alpha", type=AttributeProto.FLOAT, f=0.9))
    return before(made)


TABLES = {
    "files": FILES, "metadata": SAYINGS, "control flow": CONTROL, "randomness": RANDOM, "weights": WEIGHTS,
    "bombs": BOMBS, "coupled batches": COUPLED, "nonsense": NONSENSE,
}  # fmt: skip


def hostile() -> Iterator[Hostile]:
    """Every kind, by a name of its own."""
    for family, table in TABLES.items():
        for name, (make, culprit) in table.items():
            yield Hostile(name, make, culprit, family=family)
    for name, (make, culprit, sidecar) in SIDECARS.items():
        yield Hostile(name, make, culprit, sidecar, "sidecars")
    for name, (change, culprit) in GRAPHS.items():
        yield Hostile(name, partial(changed, change), culprit, family="graphs")
    for kind in KINDS:
        make = partial(_input_type, TensorProto.DataType.Value(kind))
        yield Hostile(f"images of {kind}", make, "x", family="types of images")
    for name, (shape, culprit) in SHAPES.items():
        yield Hostile(
            name, lambda shape=shape: model(shape=shape).SerializeToString(), culprit, family="shapes of images"
        )
    for op, attributes in _OTHER_OPERATORS.items():
        make = partial(before, node(op, ["x"], **attributes))
        yield Hostile(f"the operator {op}", make, op, family="operators")
