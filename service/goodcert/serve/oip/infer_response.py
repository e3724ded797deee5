"""What an infer request is answered, and its body, in JSON or with the binary extension."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import orjson

from goodcert.engine import Method
from goodcert.images.preprocess import Scope
from goodcert.serve.certifier.certifier import Certificate, Question
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.oip import tensors
from goodcert.serve.oip.schemas import AnswerParameters, BinaryOutput, InferResponse, Output, TensorMetadata
from goodcert.serve.repository.predictor import Answer
from goodcert.serve.repository.repository import ServedModel


class Requested(NamedTuple):
    """An output that is asked for, and whether as binary data."""

    name: str
    binary: bool


class ImageRow(NamedTuple):
    """The answer for one image of a request; certificate: of an upload, which a tensor is not."""

    answer: Answer
    verdict: Verdict
    scope: Scope
    certificate: Certificate | None = None


class InferAnswer(NamedTuple):
    """What an infer request is answered. id: of the request, "" where it has none. rows: one an image."""

    id: str
    model: ServedModel
    question: Question
    outputs: tuple[Requested, ...]
    rows: Sequence[ImageRow]

    @property
    def parameters(self) -> AnswerParameters:
        """What the bounds are about, for all images: the scope is the weaker where images differ."""
        methods = {row.answer.method for row in self.rows}
        scopes = {row.scope for row in self.rows}
        return {
            "epsilon": self.question.radius.told,
            "norm": "linf",
            "method": cast(Method, methods.pop()) if len(methods) == 1 else self.question.method,
            "scope": scopes.pop() if len(scopes) == 1 else "model_input",
            "threshold": self.model.metadata.threshold,
        }

    def column(self, name: str) -> tuple[TensorMetadata, list[Any]]:
        """An output, of shape [N], and its values."""
        datatype, value = COLUMNS[name]
        values = [value(row, self.model.metadata.labels) for row in self.rows]
        return {"name": name, "datatype": datatype, "shape": [len(values)]}, values


class Column(NamedTuple):
    """An output: its datatype and its value for one row, given the labels of the model."""

    datatype: str
    value: Callable[[ImageRow, Sequence[str]], Any]


COLUMNS = {
    "label": Column("BYTES", lambda row, labels: labels[row.answer.index]),
    "label_index": Column("INT64", lambda row, _: row.answer.index),
    "confidence": Column("FP64", lambda row, _: row.answer.confidence),
    "confidence_upper_bound": Column("FP64", lambda row, _: row.answer.upper),
    "confidence_lower_bound": Column("FP64", lambda row, _: row.answer.lower),
    "verdict": Column("BYTES", lambda row, _: row.verdict.value),
}
_CODES = {"FP64": "d", "INT64": "q"}


class Encoded(NamedTuple):
    """A body; header_length: how much of it is JSON, None where all of it is."""

    body: bytes
    header_length: int | None


def encode(answer: InferAnswer) -> Encoded:
    """The answer with the outputs that were asked for, in JSON or behind it."""
    blobs: list[bytes] = []
    message: InferResponse = {
        "model_name": answer.model.name,
        "model_version": answer.model.version,
        "parameters": answer.parameters,
        "outputs": [_output(answer, output, blobs) for output in answer.outputs],
    }
    if answer.id:
        message = {"id": answer.id, **message}
    head = orjson.dumps(message)
    return Encoded(b"".join((head, *blobs)), len(head)) if blobs else Encoded(head, None)


def _output(answer: InferAnswer, output: Requested, blobs: list[bytes]) -> Output | BinaryOutput:
    """The output as JSON; binary data goes to `blobs`."""
    described, values = answer.column(output.name)
    if not output.binary:
        return {**described, "data": values}
    blobs.append(packed(described["datatype"], values))
    return {**described, "parameters": {"binary_data_size": len(blobs[-1])}}


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    """The values of an output as binary data."""
    if datatype == "BYTES":
        return tensors.pack(value.encode() for value in values)
    return struct.pack(f"<{len(values)}{_CODES[datatype]}", *values)
