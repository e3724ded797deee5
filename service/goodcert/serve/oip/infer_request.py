"""What an infer request asks, and how it is read from a body: JSON, the binary extension, or one raw image."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, cast, get_args
from urllib.parse import parse_qsl

import numpy as np
import orjson
from numpy.typing import NDArray

from goodcert.engine import Method
from goodcert.serve.batching.lanes import Priority
from goodcert.serve.certifier.certifier import Question, Radius, parse_radius
from goodcert.serve.core.errors import BadEpsilon, BadInference, MethodNotOffered
from goodcert.serve.oip import json_fields, tensors
from goodcert.serve.oip.infer_response import COLUMNS, Requested

HEADER_LENGTH = "inference-header-content-length"
INPUT = "images"
ONE_INPUT = f"inputs: expected one input, named {INPUT}"
DATATYPES = (*tensors.NUMERIC, "BYTES")
_METHODS: tuple[str, ...] = get_args(Method)

_ALL = {binary: tuple(Requested(name, binary) for name in COLUMNS) for binary in (False, True)}

Parameters = Mapping[str, Any]
NamedOutput = tuple[object, Parameters]
"""The name of an output that is asked for, and its parameters."""
Pixels = NDArray[np.float32] | NDArray[np.uint8]
Images = list[bytes] | Pixels


class Expected(NamedTuple):
    """What the model and the settings say about a request. input_shape: (C, H, W). epsilon: by default."""

    input_shape: tuple[int, int, int]
    epsilon: str
    most_images: int


class InferRequest(NamedTuple):
    """images: encoded uploads, or pixels (N, C, H, W), uint8 or float32 in [0, 1]. timeout_ms: 0 for the
    service's own. outputs: in the order of the answer."""

    id: str
    images: Images
    question: Question
    timeout_ms: float
    outputs: tuple[Requested, ...]


def parse(body: bytes, header_length: str | None, query: str, expected: Expected) -> InferRequest:
    """Read an infer request.

    header_length: the value of Inference-Header-Content-Length; `0` means that the whole body is one encoded
    image. query: parameters of such a raw request, which has no other place for them.
    Raises ProtocolRefused, BodyRefused or QueryRefused.
    """
    if not body:
        raise BadInference("the body is empty")
    if header_length == "0":
        return infer_request("", _parameters_of_query(query) if query else {}, [body], (), expected)
    if query:
        raise BadInference("got a query; parameters belong into the JSON object, except for a raw body")
    message, binary = _split(body, header_length)
    json_fields.require_known(message, ("id", "parameters", "inputs", "outputs"), "the request")
    parameters = json_fields.mapping(message.get("parameters"), "parameters")
    images = _images(message.get("inputs"), binary, expected)
    request_id = json_fields.text(message.get("id"), "id")
    return infer_request(request_id, parameters, images, _outputs(message.get("outputs")), expected)


def infer_request(
    request_id: str, parameters: Parameters, images: Images, outputs: Sequence[NamedOutput], expected: Expected
) -> InferRequest:
    """outputs: those that are asked for, or all where there are none. Raises ProtocolRefused or QueryRefused."""
    json_fields.require_known(
        parameters, ("epsilon", "method", "priority", "timeout", "binary_data_output"), "parameters"
    )
    radius = _radius(parameters.get("epsilon", expected.epsilon))
    question = Question(radius, _method(parameters), priority=_priority(parameters, images))
    wanted = _wanted(outputs, json_fields.flag(parameters, "binary_data_output", False))
    return InferRequest(request_id, images, question, _whole(parameters, "timeout") / 1000, wanted)


def _split(body: bytes, header_length: str | None) -> tuple[Mapping[str, Any], memoryview]:
    """The JSON object and the binary data behind it."""
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 18):
            raise BadInference("Inference-Header-Content-Length: expected a whole number")
        length = int(header_length)
    if length > len(body):
        raise BadInference(f"Inference-Header-Content-Length: got {length}, the body has {len(body)} bytes")
    view = memoryview(body)
    try:
        message = orjson.loads(view[:length])
    except orjson.JSONDecodeError as error:
        raise BadInference(
            "the request is not valid JSON; with binary data, send Inference-Header-Content-Length"
        ) from error
    return json_fields.mapping(message, "the request"), view[length:]


def _images(inputs: object, binary: memoryview, expected: Expected) -> Images:
    (tensor,) = json_fields.array(inputs, "inputs") if isinstance(inputs, list) and len(inputs) == 1 else (None,)
    if tensor is None or tensor.get("name") != INPUT:
        raise BadInference(ONE_INPUT)
    json_fields.require_known(tensor, ("name", "shape", "datatype", "parameters", "data"), INPUT)
    parameters = json_fields.mapping(tensor.get("parameters"), f"{INPUT}: parameters")
    datatype, shape = declared(tensor.get("datatype"), tensor.get("shape"), parameters, expected)
    size = parameters.get("binary_data_size")
    if size is None:
        return _of_json(tensor, datatype, shape, binary)
    if tensor.get("data") is not None or size != len(binary) or isinstance(size, bool):
        raise BadInference(
            f"{INPUT}: expected binary_data_size {len(binary)}, all that follows the JSON, and no data"
        )
    return of_bytes(datatype, shape, binary)


def declared(
    datatype: object, shape: object, parameters: Parameters, expected: Expected
) -> tuple[str, tuple[int, ...]]:
    """The datatype and shape of the input. Raises NotSupported or BadInference."""
    json_fields.require_known(parameters, ("binary_data_size",), f"{INPUT}: parameters")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise BadInference(f"{INPUT}: expected the datatype {', '.join(DATATYPES)}")
    return datatype, _shape(shape, datatype, expected)


def of_bytes(datatype: str, shape: tuple[int, ...], raw: memoryview) -> Images:
    """The images in binary data. Raises BadInference."""
    return (
        tensors.elements(raw, shape[0])
        if datatype == "BYTES"
        else _in_range(tensors.numbers(raw, datatype, shape))
    )


def _of_json(tensor: Mapping[str, Any], datatype: str, shape: Sequence[int], binary: memoryview) -> Images:
    if len(binary):
        raise BadInference(f"{INPUT}: got binary data without binary_data_size")
    if datatype == "BYTES":
        raise BadInference(f"{INPUT}: JSON cannot hold the bytes of an image; send BYTES as binary data")
    return _in_range(tensors.numbers_of_json(tensor.get("data"), datatype, shape))


def _shape(shape: object, datatype: str, expected: Expected) -> tuple[int, ...]:
    """[N] or [N, 1] for BYTES, [N, C, H, W] otherwise."""
    if not isinstance(shape, list) or not shape or any(type(size) is not int for size in shape):
        raise BadInference(f"{INPUT}: expected the shape as an array of whole numbers")
    count, rest = shape[0], tuple(shape[1:])
    if datatype == "BYTES" and rest not in ((), (1,)):
        raise BadInference(f"{INPUT}: got the shape {shape[:8]}, expected [N] for BYTES")
    if datatype != "BYTES" and rest != expected.input_shape:
        raise BadInference(f"{INPUT}: got the shape {shape[:8]}, expected {['N', *expected.input_shape]}")
    if not 1 <= count <= expected.most_images:
        raise BadInference(f"{INPUT}: got {count} images, expected 1 to {expected.most_images}")
    return tuple(shape)


def _in_range(pixels: NDArray[Any]) -> NDArray[Any]:
    """`pixels`, float32 checked to lie in [0, 1], which NaN does not."""
    if pixels.dtype == np.uint8:
        return pixels
    inside = (pixels >= 0) & (pixels <= 1)
    if not inside.all():
        row = int(np.argmin(inside.all(axis=(1, 2, 3))))
        raise BadInference(f"{INPUT}[{row}]: got a pixel outside [0, 1] or NaN, expected FP32 pixels in [0, 1]")
    return pixels.astype(np.float32, copy=False)


def _radius(value: object) -> Radius:
    """Epsilon as text, or as a number, which is read as the shortest decimal that means it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = format(Decimal(repr(value)), "f")
    if not isinstance(value, str):
        raise BadEpsilon
    return parse_radius(value)


def _method(parameters: Mapping[str, Any]) -> Method:
    method = parameters.get("method", "ibp")
    if method not in _METHODS:
        raise MethodNotOffered
    return cast(Method, method)


def _priority(parameters: Mapping[str, Any], images: Images) -> Priority:
    """1 is the highest and the one by default, others are for bulk, and so are several images at once."""
    level = _whole(parameters, "priority")
    return "monitor" if level <= 1 and len(images) == 1 else "bulk"


def _whole(parameters: Mapping[str, Any], name: str) -> int:
    """A whole number, 0 where there is none; of a query, its digits."""
    value = parameters.get(name, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 18:
        value = int(value)
    if type(value) is not int or value < 0:
        raise BadInference(f"{name}: expected a whole number")
    return value


def _outputs(given: object) -> list[NamedOutput]:
    """As JSON names them; null is none."""
    outputs = [] if given is None else json_fields.array(given, "outputs")
    for output in outputs:
        json_fields.require_known(output, ("name", "parameters"), "outputs")
    return [(o.get("name"), json_fields.mapping(o.get("parameters"), "outputs: parameters")) for o in outputs]


def _wanted(outputs: Sequence[NamedOutput], binary: bool) -> tuple[Requested, ...]:
    """Those that are asked for, or all."""
    if not outputs:
        return _ALL[binary]
    wanted = tuple(_requested(*output, binary) for output in outputs)
    if len({output.name for output in wanted}) < len(wanted):
        raise BadInference("outputs: expected every output once")
    return wanted


def _requested(name: object, parameters: Parameters, binary: bool) -> Requested:
    if not isinstance(name, str) or name not in COLUMNS:
        raise BadInference(f"outputs: expected the names {', '.join(COLUMNS)}")
    json_fields.require_known(parameters, ("binary_data",), f"{name}: parameters")
    return Requested(name, json_fields.flag(parameters, "binary_data", binary))


def _parameters_of_query(query: str) -> dict[str, str]:
    items = parse_qsl(query, keep_blank_values=True)
    if len(dict(items)) < len(items):
        raise BadInference("the query: expected every parameter once")
    return dict(items)
