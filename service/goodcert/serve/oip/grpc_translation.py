"""gRPC messages as HTTP requests of the protocol, and the answers to these as messages."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
from google.protobuf.json_format import ParseDict

from goodcert.serve.core.errors import BadInference, UnknownModel
from goodcert.serve.oip import tensors
from goodcert.serve.oip.error_format import ROOT
from goodcert.serve.oip.grpc_messages import message
from goodcert.serve.oip.infer_request import HEADER_LENGTH

_PART = 2**12


class Ask(NamedTuple):
    """An HTTP request; header_length: how much of the body is JSON, where that is not all."""

    method: str
    path: str
    body: bytes = b""
    header_length: int | None = None


class Told(NamedTuple):
    """An HTTP response, names of headers in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


def _of_model(request: Any, verb: str = "") -> Ask:
    return Ask("GET", _path(request.name, request.version) + verb)


def _path(name: str, version: str) -> str:
    """Raises UnknownModel for names that would lead to other paths."""
    if not name or "/" in name + version or name == "stats":
        raise UnknownModel(name)
    return f"{ROOT}/models/{name}" + (f"/versions/{version}" if version else "")


def _index(request: Any) -> Ask:
    return Ask("POST", f"{ROOT}/repository/index", orjson.dumps({"ready": request.ready}))


def _change(request: Any, verb: str) -> Ask:
    if not request.model_name or "/" in request.model_name:
        raise UnknownModel(request.model_name)
    parameters = {name: _chosen(value) for name, value in request.parameters.items()}
    body = {name: value if isinstance(value, bool) else str(value) for name, value in parameters.items()}
    path = f"{ROOT}/repository/models/{request.model_name}/{verb}"
    return Ask("POST", path, orjson.dumps({"parameters": body}))


def _infer(request: Any) -> Ask:
    """Every tensor becomes binary data, and so do all outputs."""
    blobs = _blobs(request)
    head = orjson.dumps(
        {
            "id": request.id,
            "parameters": _parameters(request.parameters) | {"binary_data_output": True},
            "inputs": [_input(tensor, blob) for tensor, blob in zip(request.inputs, blobs, strict=True)],
            "outputs": [_output(output) for output in request.outputs],
        }
    )
    path = _path(request.model_name, request.model_version)
    return Ask("POST", f"{path}/infer", b"".join((head, *blobs)), len(head))


def _blobs(request: Any) -> list[bytes]:
    """The bytes of every input tensor. Raises BadInference."""
    raw = list(request.raw_input_contents)
    typed = [tensor for tensor in request.inputs if tensor.HasField("contents")]
    if raw and (typed or len(raw) != len(request.inputs)):
        raise BadInference("raw_input_contents: expected one for each input, and no contents beside them")
    return raw or [_typed(tensor) for tensor in request.inputs]


def _typed(tensor: Any) -> bytes:
    """The bytes of contents in the field of their datatype; other datatypes are refused later, by name."""
    contents = tensor.contents
    match tensor.datatype:
        case "FP32":
            return b"".join(np.array(part, dtype="<f4").tobytes() for part in _parts(contents.fp32_contents))
        case "UINT8":
            try:
                return b"".join(map(bytes, _parts(contents.uint_contents)))
            except ValueError as error:
                raise BadInference("images: got a number above 255 in uint_contents, expected UINT8") from error
        case "BYTES":
            return tensors.pack(contents.bytes_contents)
    return b""


def _parts(numbers: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """So many numbers at a time that the interpreter is not kept for long from whoever waits for it."""
    return (numbers[start : start + _PART] for start in range(0, len(numbers), _PART))


def _input(tensor: Any, blob: bytes) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        "parameters": _parameters(tensor.parameters) | {"binary_data_size": len(blob)},
    }


def _output(output: Any) -> dict[str, Any]:
    return {"name": output.name, "parameters": _parameters(output.parameters) | {"binary_data": True}}


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _chosen(value) for name, value in given.items()}


def _chosen(parameter: Any) -> Any:
    """The value of a parameter; None where it has none."""
    field = parameter.WhichOneof("parameter_choice")
    return getattr(parameter, field) if field else None


def _described(name: str) -> Callable[[Told], Any]:
    return lambda told: ParseDict(orjson.loads(told.body), message(name)(), ignore_unknown_fields=True)


def _listed(told: Told) -> Any:
    return message("RepositoryIndexResponse")(models=orjson.loads(told.body))


def _inferred(told: Told) -> Any:
    length = int(told.headers[HEADER_LENGTH.encode()])
    head, rest = orjson.loads(told.body[:length]), told.body[length:]
    sizes = [output.pop("parameters")["binary_data_size"] for output in head["outputs"]]
    parameters = {name: _parameter(value) for name, value in head.pop("parameters").items()}
    return message("ModelInferResponse")(**head, parameters=parameters, raw_output_contents=_pieces(rest, sizes))


def _parameter(value: str | float) -> Any:
    field = "string_param" if isinstance(value, str) else "double_param"
    return message("InferParameter")(**{field: value})


def _pieces(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return pieces


ASKS: dict[str, Callable[[Any], Ask]] = {
    "ServerLive": lambda _: Ask("GET", f"{ROOT}/health/live"),
    "ServerReady": lambda _: Ask("GET", f"{ROOT}/health/ready"),
    "ServerMetadata": lambda _: Ask("GET", ROOT),
    "ModelReady": lambda request: _of_model(request, "/ready"),
    "ModelMetadata": _of_model,
    "ModelInfer": _infer,
    "RepositoryIndex": _index,
    "RepositoryModelLoad": lambda request: _change(request, "load"),
    "RepositoryModelUnload": lambda request: _change(request, "unload"),
}
"""By call: what to ask. Raises BadInference or UnknownModel."""

TELLS: dict[str, Callable[[Told], Any]] = {
    name: _described(f"{name}Response") for name in ASKS if name not in ("ModelInfer", "RepositoryIndex")
} | {"ModelInfer": _inferred, "RepositoryIndex": _listed}
"""By call: the message of an answer with status 200."""
