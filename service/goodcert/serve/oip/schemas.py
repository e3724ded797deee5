"""The answers of the protocol, for the documentation; what is sent are plain dicts."""

from typing import Literal

from pydantic import ConfigDict

from goodcert.serve.http.schemas import WireModel


class ProtocolError(WireModel):
    """Every answer with a status other than 200."""

    error: str


class Nothing(WireModel):
    """Done."""


class ServerLive(WireModel):
    """The process answers."""

    live: Literal[True]


class ServerReady(WireModel):
    """Traffic should come."""

    ready: Literal[True]


class ModelReady(WireModel):
    """The model answers."""

    name: str
    ready: Literal[True]


class ServerMetadata(WireModel):
    """What this server is, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(WireModel):
    """A tensor; -1 is any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(WireModel):
    """The input is declared as FP32; UINT8 and BYTES are taken under the same name."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfiguredInput(WireModel):
    """The shape of one image."""

    name: str
    data_type: str
    dims: list[int]


class Reshape(WireModel):
    """One value an image."""

    shape: list[int]


class ConfiguredOutput(WireModel):
    """One value an image."""

    name: str
    data_type: str
    dims: list[int]
    reshape: Reshape


class ConfiguredParameter(WireModel):
    """A parameter of the model."""

    string_value: str


class ModelConfig(WireModel):
    """What the certificate depends on is in the parameters: epsilon, threshold, labels, sha256."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfiguredInput]
    output: list[ConfiguredOutput]
    parameters: dict[str, ConfiguredParameter]


class Duration(WireModel):
    """How many requests, and their nanoseconds together."""

    count: int
    ns: int


class Durations(WireModel):
    """Of requests that were answered, and that were refused."""

    success: Duration
    fail: Duration


class ModelStatistics(WireModel):
    """Of one version, in the process that answers, since it started."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    inference_stats: Durations


class Statistics(WireModel):
    """Of several versions."""

    model_stats: list[ModelStatistics]


class IndexEntry(WireModel):
    """A version of a model that was found; why it does not answer where it does not."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class AnswerParameters(WireModel):
    """What the bounds are about, for all images of the request."""

    epsilon: float
    norm: Literal["linf"]
    method: Literal["ibp", "crown", "auto"]
    scope: Literal["upload", "model_input"]
    threshold: float


class OutputSize(WireModel):
    """How many of the bytes behind the JSON object are this output's."""

    binary_data_size: int


class BinaryOutput(WireModel):
    """An output whose values follow the JSON object."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputSize


class Output(WireModel):
    """An output, one value an image."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float | str]


class InferResponse(WireModel):
    """The outputs that were asked for, one value an image; `id` where the request had one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=lambda schema: schema["required"].remove("id"))

    id: str
    model_name: str
    model_version: str
    parameters: AnswerParameters
    outputs: list[Output | BinaryOutput]
