"""From answers to the body of an infer response, in JSON or with the binary extension."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from goodcert.serve.certifier.certifier import Certificate, Question
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.images.preprocess import Scope
from goodcert.serve.oip import tensors
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


def encode(
    request_id: str, outputs: Sequence[Requested], question: Question, model: ServedModel, rows: Sequence[ImageRow]
) -> Encoded:
    """The response with `outputs`, each of shape [N]."""
    blobs: list[bytes] = []
    message: dict[str, Any] = {"id": request_id} if request_id else {}
    message |= {
        "model_name": model.name,
        "model_version": model.version,
        "parameters": _parameters(question, model, rows),
        "outputs": [_output(output, model.metadata.labels, rows, blobs) for output in outputs],
    }
    head = orjson.dumps(message)
    return Encoded(b"".join((head, *blobs)), len(head)) if blobs else Encoded(head, None)


def _parameters(question: Question, model: ServedModel, rows: Sequence[ImageRow]) -> dict[str, Any]:
    """What the bounds are about, for all images: the scope is the weaker where images differ."""
    methods = {row.answer.method for row in rows}
    scopes = {row.scope for row in rows}
    return {
        "epsilon": question.radius.told,
        "norm": "linf",
        "method": methods.pop() if len(methods) == 1 else question.method,
        "scope": scopes.pop() if len(scopes) == 1 else "model_input",
        "threshold": model.metadata.threshold,
    }


def _output(
    output: Requested, labels: Sequence[str], rows: Sequence[ImageRow], blobs: list[bytes]
) -> dict[str, Any]:
    """The output as JSON; binary data goes to `blobs`."""
    datatype, value = COLUMNS[output.name]
    values = [value(row, labels) for row in rows]
    described = {"name": output.name, "datatype": datatype, "shape": [len(rows)]}
    if not output.binary:
        return described | {"data": values}
    blobs.append(_binary(datatype, values))
    return described | {"parameters": {"binary_data_size": len(blobs[-1])}}


def _binary(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        return tensors.pack(value.encode() for value in values)
    return struct.pack(f"<{len(values)}{_CODES[datatype]}", *values)
