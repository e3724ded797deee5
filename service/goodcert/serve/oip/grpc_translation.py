"""gRPC messages as the values of the dataplane, and these as messages.

Every call has the method and path that it has over HTTP, by which logs, traces, counts and the scopes of keys know
it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from goodcert.serve.batching import threads
from goodcert.serve.core.errors import BadInference, UnknownModel
from goodcert.serve.http.problems import PROTOCOL
from goodcert.serve.oip import infer_request, tensors
from goodcert.serve.oip.dataplane import Dataplane
from goodcert.serve.oip.grpc_messages import message
from goodcert.serve.oip.infer_request import Expected, InferRequest, NamedOutput
from goodcert.serve.oip.infer_response import InferAnswer, packed

_PART = 2**12


class GrpcTensor(NamedTuple):
    """A tensor of a ModelInferRequest; blob: its bytes, wherever the message has them."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Mapping[str, Any]
    blob: bytes


class GrpcInfer(NamedTuple):
    """What a ModelInferRequest asks, without the message, whose memory is then given back."""

    name: str
    version: str
    id: str
    inputs: list[GrpcTensor]
    parameters: Mapping[str, Any]
    outputs: list[NamedOutput]


class GrpcCall(NamedTuple):
    """method, path: of the same call over HTTP, by what is asked; raises UnknownModel. answer: the fields of the
    message that answers it; raises ServeError. read: what is asked, of its message; raises BadInference."""

    method: str
    path: Callable[[Any], str]
    answer: Callable[[Dataplane, Any], Awaitable[Mapping[str, Any]]]
    read: Callable[[Any], Any] = lambda message: message


async def _live(_: Dataplane, __: Any) -> Mapping[str, Any]:
    return {"live": True}


async def _ready(dataplane: Dataplane, _: Any) -> Mapping[str, Any]:
    dataplane.require_ready()
    return {"ready": True}


async def _server(dataplane: Dataplane, _: Any) -> Mapping[str, Any]:
    return dataplane.server()


async def _model_ready(dataplane: Dataplane, request: Any) -> Mapping[str, Any]:
    dataplane.model(request.name, request.version or None).require_sound()
    return {"ready": True}


async def _model(dataplane: Dataplane, request: Any) -> Mapping[str, Any]:
    return dataplane.describe(dataplane.model(request.name, request.version or None))


async def _index(dataplane: Dataplane, request: Any) -> Mapping[str, Any]:
    return {"models": dataplane.index(request.ready)}


async def _load(dataplane: Dataplane, request: Any) -> Mapping[str, Any]:
    await dataplane.load(request.model_name, _parameters(request.parameters))
    return {}


async def _unload(dataplane: Dataplane, request: Any) -> Mapping[str, Any]:
    await dataplane.unload(request.model_name, _parameters(request.parameters))
    return {}


async def _infer(dataplane: Dataplane, ask: GrpcInfer) -> Mapping[str, Any]:
    deadline, size_bytes = dataplane.service.request_deadline(), sum(len(tensor.blob) for tensor in ask.inputs)

    @asynccontextmanager
    async def read(expected: Expected) -> AsyncIterator[InferRequest]:
        yield await threads.run_if_large(partial(_asked, ask, expected), size_bytes, deadline)

    return _told(await dataplane.infer(dataplane.model(ask.name, ask.version or None), read))


def _asked(ask: GrpcInfer, expected: Expected) -> InferRequest:
    """Raises ProtocolRefused or QueryRefused."""
    if [tensor.name for tensor in ask.inputs] != [infer_request.INPUT]:
        raise BadInference(infer_request.ONE_INPUT)
    (tensor,) = ask.inputs
    declared = infer_request.declared(tensor.datatype, tensor.shape, tensor.parameters, expected)
    images = infer_request.of_bytes(*declared, memoryview(tensor.blob))
    return infer_request.infer_request(ask.id, ask.parameters, images, ask.outputs, expected)


def _read_infer(request: Any) -> GrpcInfer:
    raw = list(request.raw_input_contents)
    typed = [tensor for tensor in request.inputs if tensor.HasField("contents")]
    if raw and (typed or len(raw) != len(request.inputs)):
        raise BadInference("raw_input_contents: expected one for each input, and no contents beside them")
    blobs = raw or [_typed(tensor) for tensor in request.inputs]
    inputs = [
        GrpcTensor(tensor.name, tensor.datatype, list(tensor.shape), _parameters(tensor.parameters), blob)
        for tensor, blob in zip(request.inputs, blobs, strict=True)
    ]
    outputs: list[NamedOutput] = [(output.name, _parameters(output.parameters)) for output in request.outputs]
    name, version, parameters = request.model_name, request.model_version, _parameters(request.parameters)
    return GrpcInfer(name, version, request.id, inputs, parameters, outputs)


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


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of parameters, None where one has none. Those that say what is binary mean nothing: all is."""
    fields = {name: value.WhichOneof("parameter_choice") for name, value in given.items()}
    return {
        name: getattr(given[name], field) if field else None
        for name, field in fields.items()
        if not name.startswith("binary_data")
    }


def _told(answer: InferAnswer) -> Mapping[str, Any]:
    """Every output as binary data."""
    columns = [answer.column(output.name) for output in answer.outputs]
    return {
        "id": answer.id,
        "model_name": answer.model.name,
        "model_version": answer.model.version,
        "parameters": {name: _parameter(value) for name, value in answer.parameters.items()},
        "outputs": [described for described, _ in columns],
        "raw_output_contents": [packed(described["datatype"], values) for described, values in columns],
    }


def _parameter(value: Any) -> Any:
    field = "string_param" if isinstance(value, str) else "double_param"
    return message("InferParameter")(**{field: value})


def _of_model(request: Any, verb: str = "") -> str:
    return _path(request.name, request.version) + verb


def _path(name: str, version: str = "") -> str:
    """Raises UnknownModel for names that would lead to other paths."""
    if not name or "/" in name + version:
        raise UnknownModel(name)
    return f"{PROTOCOL}/models/{name}" + (f"/versions/{version}" if version else "")


def _change(request: Any, verb: str) -> str:
    return f"{PROTOCOL}/repository{_path(request.model_name).removeprefix(PROTOCOL)}/{verb}"


CALLS: Mapping[str, GrpcCall] = {
    "ServerLive": GrpcCall("GET", lambda _: f"{PROTOCOL}/health/live", _live),
    "ServerReady": GrpcCall("GET", lambda _: f"{PROTOCOL}/health/ready", _ready),
    "ServerMetadata": GrpcCall("GET", lambda _: PROTOCOL, _server),
    "ModelReady": GrpcCall("GET", partial(_of_model, verb="/ready"), _model_ready),
    "ModelMetadata": GrpcCall("GET", _of_model, _model),
    "ModelInfer": GrpcCall("POST", partial(_of_model, verb="/infer"), _infer, _read_infer),
    "RepositoryIndex": GrpcCall("POST", lambda _: f"{PROTOCOL}/repository/index", _index),
    "RepositoryModelLoad": GrpcCall("POST", partial(_change, verb="load"), _load),
    "RepositoryModelUnload": GrpcCall("POST", partial(_change, verb="unload"), _unload),
}
