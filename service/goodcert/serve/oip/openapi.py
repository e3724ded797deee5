"""The paths under /v2 as the OpenAPI document has them; `rest` answers them, in front of the framework."""

from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from goodcert.serve.http.params import METHODS
from goodcert.serve.http.routes import EPSILON
from goodcert.serve.oip import tensors
from goodcert.serve.oip.infer_request import HEADER_LENGTH, INPUT
from goodcert.serve.oip.infer_response import COLUMNS
from goodcert.serve.oip.schemas import (
    IndexEntry,
    InferResponse,
    ModelConfig,
    ModelMetadata,
    ModelReady,
    Nothing,
    ProtocolError,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Statistics,
)

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
_LENGTH = HEADER_LENGTH.title()


_WHOLE = {"type": "string", "pattern": "^[0-9]{1,17}$"}
_COUNT = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 2**53}, _WHOLE]}
_EPSILON = {"type": "string", "pattern": EPSILON, "maxLength": 64}
_METHOD = {"type": "string", "enum": list(METHODS)}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def _object(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    told = {"type": "object", "properties": properties, "additionalProperties": False}
    return told | {"required": list(required)} if required else told


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_PARAMETERS = _object(
    {
        "epsilon": {"anyOf": [_EPSILON, {"type": "number", "minimum": 0, "maximum": 1}]},
        "method": _METHOD,
        "timeout": _COUNT | {"description": "Microseconds; 0 and too many mean what the service allows."},
        "priority": _COUNT | {"description": "0 and 1 for monitors, more for bulk; several images are bulk."},
        "binary_data_output": {"type": "boolean"},
    }
)
_INPUT = _object(
    {
        "name": {"const": INPUT},
        "datatype": {"type": "string", "enum": list(tensors.NUMERIC)},
        "shape": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 4,
            "maxItems": 4,
            "description": "[N, C, H, W] of the model, as its metadata say.",
        },
        "data": {
            "type": "array",
            "minItems": 1,
            "items": {"type": ["number", "array"]},
            "description": "The pixels, flat or nested: FP32 in [0, 1], or UINT8.",
        },
    },
    ("name", "datatype", "shape", "data"),
)
_OUTPUT = _object(
    {
        "name": {"type": "string", "enum": list(COLUMNS)},
        "parameters": _or_null(_object({"binary_data": {"type": "boolean"}})),
    },
    ("name",),
)
_INFER = _object(
    {
        "id": _or_null({"type": "string"}),
        "parameters": _or_null(_PARAMETERS),
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _INPUT},
        "outputs": _or_null({"type": "array", "items": _OUTPUT}) | {"description": "By default all of them."},
    },
    ("inputs",),
)
_ASK_INFER: Schema = {
    "parameters": [
        {
            "name": _LENGTH,
            "in": "header",
            "required": False,
            "description": "How many bytes of the body are its JSON object; binary data follow, as "
            "`binary_data_size` in the parameters of the input says. 0: the whole body is one encoded image.",
            "schema": _WHOLE,
        },
        *(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": f"As in the parameters of the JSON object; only with {_LENGTH}: 0.",
                "schema": schema,
            }
            for name, schema in {
                "epsilon": _EPSILON,
                "method": _METHOD,
                "timeout": _WHOLE,
                "priority": _WHOLE,
            }.items()
        ),
    ],
    "requestBody": {
        "required": True,
        "description": "A JSON object, alone or with binary data behind it, or the bytes of one image. Which "
        f"it is, {_LENGTH} says, and never the Content-Type.",
        "content": {"application/json": {"schema": _INFER}, **_BINARY},
    },
}
_ASK_INDEX = {
    "requestBody": {"content": {"application/json": {"schema": _object({"ready": {"type": "boolean"}})}}}
}
_ASK_LOAD = {"requestBody": {"content": {"application/json": {"schema": _object({})}}}}
_UNLOAD = _object({"parameters": _or_null(_object({"unload_dependents": {"type": "boolean"}}))})
_ASK_UNLOAD = {"requestBody": {"content": {"application/json": {"schema": _UNLOAD}}}}


class _Path(NamedTuple):
    """answer: its type; many: an array of it. ask: parameters and body."""

    method: Literal["get", "post"]
    path: str
    summary: str
    answer: type[Any]
    ask: Schema = {}  # noqa: RUF012  never changed
    many: bool = False


_SERVER = (
    _Path("get", "/v2", "Server metadata", ServerMetadata),
    _Path("get", "/v2/health/live", "Whether the process answers", ServerLive),
    _Path("get", "/v2/health/ready", "Whether traffic should come", ServerReady),
    _Path("get", "/v2/models/stats", "Statistics of every model", Statistics),
    _Path("post", "/v2/repository/index", "Every model that was found", IndexEntry, _ASK_INDEX, many=True),
    _Path("post", "/v2/repository/models/{model}/load", "Load a model, where allowed", Nothing),
    _Path("post", "/v2/repository/models/{model}/unload", "Unload a model, where allowed", Nothing, _ASK_UNLOAD),
)
_MODEL = (
    _Path("get", "", "Model metadata", ModelMetadata),
    _Path("get", "/ready", "Whether the model answers", ModelReady),
    _Path("get", "/config", "Model configuration", ModelConfig),
    _Path("get", "/stats", "Statistics of a model", Statistics),
    _Path("post", "/infer", "Certify images", InferResponse, _ASK_INFER),
)
_OF_MODELS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
_PATHS = (*_SERVER, *(each._replace(path=root + each.path) for root in _OF_MODELS for each in _MODEL))


def add_to(document: Schema) -> Schema:
    """The OpenAPI document, with these paths."""
    paths: Schema = {}
    for path in _PATHS:
        paths.setdefault(path.path, {})[path.method] = _operation(path)
    kinds = {*(path.answer for path in _PATHS), ProtocolError}
    told: list[tuple[Any, JsonSchemaMode, TypeAdapter[Any]]]
    told = [(kind, "serialization", TypeAdapter(kind)) for kind in kinds]
    _, schemas = TypeAdapter.json_schemas(told, ref_template=_REFERENCE)
    exact = {name: schema | {"additionalProperties": False} for name, schema in schemas["$defs"].items()}
    known = document.get("components", {})
    components = known | {"schemas": known.get("schemas", {}) | exact}
    return document | {"paths": document["paths"] | paths, "components": components}


def _operation(path: _Path) -> Schema:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path.path]
    placed = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    schema: Schema = {"$ref": _REFERENCE.format(model=path.answer.__name__)}
    schema = {"type": "array", "items": schema} if path.many else schema
    binary = _BINARY if path.answer is InferResponse else {}
    return {
        "tags": ["Open Inference Protocol"],
        "summary": path.summary,
        "operationId": f"{path.method}_{path.path.strip('/').translate(_PLAIN)}",
        **path.ask,
        "parameters": [*placed, *path.ask.get("parameters", ())],
        "responses": {
            "200": {"description": "Success", "content": {"application/json": {"schema": schema}, **binary}},
            "default": {"description": "Refused", "content": _ERROR},
        },
    }


_PLAIN = str.maketrans({"/": "_", "{": None, "}": None})
_ERROR = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ProtocolError")}}}
