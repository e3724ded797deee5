"""The nodes of a graph that ONNX Runtime runs, taken apart: each reads values that are fed, none reads another.

In an optimised graph a node may stand for several of the file, and have its values in blocks of channels. What it
makes is told by name; what it reads is put into blocks, and what it makes taken out of them, by ONNX Runtime's own
reorderings.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from goodcert.engine.checks.file_values import Array, FileValues
from goodcert.engine.errors import EngineError
from goodcert.engine.sessions import session

MAX_NUMBERS = 2**22
"""Numbers fed to one model of separate nodes."""


@dataclass(frozen=True)
class _Value:
    """name: what the file calls it; blocked: whether it is laid out in blocks of channels."""

    name: str
    blocked: bool = False


@dataclass(frozen=True)
class SeparateNode:
    """A node, or several whose values between them the file does not know. nodes: renamed so that varying inputs
    are `fed` values; reads: those; makes: the file's name of what is compared, which `output` is called."""

    proto: onnx.NodeProto
    nodes: tuple[onnx.NodeProto, ...]
    reads: tuple[str, ...]
    makes: str
    output: str
    constants: tuple[tuple[str, onnx.TensorProto], ...]

    @property
    def key(self) -> bytes:
        """Equal for nodes that ONNX Runtime runs alike."""
        digest = hashlib.sha256()
        for node in self.nodes:
            digest.update(node.SerializeToString(deterministic=True))
        for _, tensor in self.constants:
            digest.update(tensor.SerializeToString(deterministic=True))
        return digest.digest()


@dataclass(frozen=True)
class Part:
    """Some separate nodes in one model. version: of its format."""

    nodes: tuple[SeparateNode, ...]
    opsets: tuple[onnx.OperatorSetIdProto, ...]
    version: int

    def session(self, values: FileValues) -> onnxruntime.InferenceSession:
        shapes = {name: values.recorded[name].shape for node in self.nodes for name in node.reads}
        graph = helper.make_graph(
            [proto for node in self.nodes for proto in node.nodes],
            "separate",
            [helper.make_tensor_value_info(f"fed:{name}", TensorProto.FLOAT, x) for name, x in shapes.items()],
            [onnx.ValueInfoProto(name=node.output) for node in self.nodes],
            [tensor for _, tensor in {k: v for n in self.nodes for k, v in n.constants}.items()],
        )
        model = helper.make_model(graph, opset_imports=list(self.opsets), ir_version=self.version)
        return session(model.SerializeToString(), "none")

    def run(self, runtime: onnxruntime.InferenceSession, values: FileValues, turn: int) -> list[Array]:
        """What ONNX Runtime makes of every node."""
        names = {name for node in self.nodes for name in node.reads}
        try:
            return list(runtime.run(None, {f"fed:{name}": values.feed(name, turn) for name in names}))
        except EngineError:
            raise
        except Exception as error:  # its errors have no common public class
            raise EngineError(
                f"ONNX Runtime {onnxruntime.__version__} does not run a node alone: {error}"
            ) from error


def parts(file: onnx.ModelProto, runs: onnx.ModelProto, values: FileValues, seen: set[bytes]) -> Iterator[Part]:
    """The nodes of `runs`, which ONNX Runtime made of `file`, in parts of at most `MAX_NUMBERS` numbers; without
    those that were seen before, to which they are added."""
    opsets, version = _opsets(runs), max(runs.ir_version, 4)
    some: list[SeparateNode] = []
    numbers = 0
    for node in _Graph(runs.graph, file.graph, values).separated():
        if node.key in seen:
            continue
        seen.add(node.key)
        some.append(node)
        numbers += sum(values.recorded[name].size for name in node.reads)
        if numbers > MAX_NUMBERS:
            yield Part(tuple(some), opsets, version)
            some, numbers = [], 0
    if some:
        yield Part(tuple(some), opsets, version)


def _opsets(runs: onnx.ModelProto) -> tuple[onnx.OperatorSetIdProto, ...]:
    blocked = "com.microsoft.nchwc"
    others = [helper.make_opsetid(blocked, 1)] if all(o.domain != blocked for o in runs.opset_import) else []
    return (*runs.opset_import, *others)


class _Graph:
    """An optimised graph, read against the names of the file."""

    def __init__(self, proto: onnx.GraphProto, file: onnx.GraphProto, values: FileValues) -> None:
        self._file = values
        self._nodes = list(proto.node)
        self._weights: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in proto.initializer}
        self._named = {node.name: node for node in file.node if node.name}
        self._values: dict[str, _Value] = {}
        self._makers: dict[str, onnx.NodeProto] = {
            name: node for node in proto.node for name in node.output if name
        }

    def separated(self) -> Iterator[SeparateNode]:
        """Every node that makes a value of the file."""
        for node in self._nodes:
            if node.op_type == "ReorderInput" and not _flag(node, "channels_last"):
                source = self._value(node.input[0])
                if source is not None:
                    self._values[node.output[0]] = _Value(source.name, blocked=True)
                    continue
            for name in filter(None, node.output):
                made = self._made(node, name)
                if made is None:
                    continue
                self._values[name] = made
                reads = [self._value(read) for read in node.input]
                if node.op_type == "ReorderOutput" and reads[0] is not None and reads[0].name == made.name:
                    continue
                yield _Separation(self, node, name, made).result()

    def _value(self, name: str) -> _Value | None:
        """What the graph's value is in the file, where that varies."""
        if name in self._values:
            return self._values[name]
        varying = self._file.varies(name) if name else None
        return None if varying is None else _Value(varying)

    def _made(self, node: onnx.NodeProto, name: str) -> _Value | None:
        """The value of the file that this output is. ONNX Runtime renames what it lays out in blocks, and keeps
        the name in that of the node."""
        plain = self._value(name)
        if plain is not None:
            return plain
        blocked = re.fullmatch(r"(.+)_nchwc(?:_token_\d+)?", node.name)
        if blocked is not None:
            varying = self._file.varies(blocked[1])
            activated = None if varying is None else self._file.activated(varying, _text(node, "activation"))
            return None if activated is None else _Value(activated, blocked=True)
        own = self._named.get(node.name)
        reads = [self._value(read) for read in node.input]
        if own is not None and own.op_type == node.op_type and any(r is not None and r.blocked for r in reads):
            varying = self._file.varies(own.output[0])
            return None if varying is None else _Value(varying, blocked=True)
        return None

    def cut(self, name: str) -> _Value | None:
        """The value of the file that can be fed in the place of `name`. What is blocked in no whole blocks
        can't."""
        value = self._value(name)
        if value is None or not value.blocked:
            return value
        return value if self._file.recorded[value.name].shape[1] % _BLOCK == 0 else None

    def constant(self, name: str) -> onnx.TensorProto | None:
        if name in self._weights:
            return self._weights[name]
        value = None if self._value(name) else self._file.recorded.get(name)
        return None if value is None else numpy_helper.from_array(value, name)

    def maker(self, name: str) -> onnx.NodeProto:
        return self._makers[name]

    def channels(self, value: _Value) -> int:
        return int(self._file.recorded[value.name].shape[1])


_BLOCK = 16
"""Channels are laid out in blocks of 8 or 16."""


class _Separation:
    """One node made to read fed values."""

    def __init__(self, graph: _Graph, node: onnx.NodeProto, name: str, made: _Value) -> None:
        self._graph, self._node, self._name, self._made = graph, node, name, made
        self._nodes: list[onnx.NodeProto] = []
        self._reads: dict[str, None] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        self._done: set[str] = set()

    def result(self) -> SeparateNode:
        self._add(self._node)
        output = self._own(self._name)
        if self._made.blocked:
            plain = f"{output}:plain"
            channels = self._graph.channels(self._made)
            self._nodes.append(_reorder("ReorderOutput", output, plain, channels=channels))
            output = plain
        return SeparateNode(
            self._node, tuple(self._nodes), tuple(self._reads), self._made.name, output,
            tuple(self._constants.items()),
        )  # fmt: skip

    def _own(self, name: str) -> str:
        return f"{self._made.name}:{name}"

    def _add(self, node: onnx.NodeProto) -> None:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._read(name) for name in node.input]
        copy.output[:] = [self._own(name) if name else "" for name in node.output]
        copy.name = ""  # ONNX Runtime wants no two of one name
        self._nodes.append(copy)

    def _read(self, name: str) -> str:
        if not name:
            return ""
        constant = self._graph.constant(name)
        if constant is not None:
            self._constants[name] = constant
            return name
        value = self._graph.cut(name)
        if value is None:
            maker = self._graph.maker(name)  # one between values of the file
            if maker.output[0] not in self._done:
                self._done.add(maker.output[0])
                self._add(maker)
            return self._own(name)
        self._reads[value.name] = None
        return self._blocked(value) if value.blocked else f"fed:{value.name}"

    def _blocked(self, value: _Value) -> str:
        name = self._own(f"{value.name}:blocked")
        if name not in self._done:
            self._done.add(name)
            self._nodes.append(_reorder("ReorderInput", f"fed:{value.name}", name))
        return name


def _reorder(op: str, source: str, target: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, [source], [target], domain="com.microsoft.nchwc", **attributes)


def _text(node: onnx.NodeProto, name: str) -> str:
    return next((attribute.s.decode() for attribute in node.attribute if attribute.name == name), "")


def _flag(node: onnx.NodeProto, name: str) -> bool:
    return any(attribute.name == name and attribute.i for attribute in node.attribute)
