"""The answers of the protocol: plain dicts, of these types, which the documentation is made of, too."""

from typing import (
    Literal,
    NotRequired,  # pydantic takes no other before Python 3.12
)

from typing_extensions import TypedDict


class ProtocolError(TypedDict):
    """Every answer with a status other than 200."""

    error: str


class Nothing(TypedDict):
    """The answer of what is done and has nothing to tell."""


class ServerLive(TypedDict):
    """Told by any process that answers at all."""

    live: Literal[True]


class ServerReady(TypedDict):
    """There is a model, none broke its guarantee, and the process is not ending."""

    ready: Literal[True]


class ModelReady(TypedDict):
    """It is loaded, checked, and has not broken its guarantee."""

    name: str
    ready: Literal[True]


class ServerMetadata(TypedDict):
    """What this server is, and which extensions of the protocol it has."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(TypedDict):
    """A tensor; -1 is any number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(TypedDict):
    """The input is declared as FP32; UINT8 and BYTES are taken under the same name."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ConfiguredInput(TypedDict):
    """The shape of one image."""

    name: str
    data_type: str
    dims: list[int]


class Reshape(TypedDict):
    """One value an image."""

    shape: list[int]


class ConfiguredOutput(TypedDict):
    """One value an image."""

    name: str
    data_type: str
    dims: list[int]
    reshape: Reshape


class ConfiguredParameter(TypedDict):
    """A parameter of the model."""

    string_value: str


class ModelConfig(TypedDict):
    """What the certificate depends on is in the parameters: epsilon, threshold, labels, sha256."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[ConfiguredInput]
    output: list[ConfiguredOutput]
    parameters: dict[str, ConfiguredParameter]


class Duration(TypedDict):
    """How many requests, and their nanoseconds together."""

    count: int
    ns: int


class Durations(TypedDict):
    """Of requests that were answered, and that were refused."""

    success: Duration
    fail: Duration


class ModelStatistics(TypedDict):
    """Of one version, in the process that answers, since it started."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    inference_stats: Durations


class Statistics(TypedDict):
    """Of the versions of a model that were asked about, of all models where none was."""

    model_stats: list[ModelStatistics]


class IndexEntry(TypedDict):
    """A version of a model that was found; why it does not answer where it does not."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class AnswerParameters(TypedDict):
    """What the bounds are about, for all images of the request."""

    epsilon: float
    norm: Literal["linf"]
    method: Literal["ibp", "crown", "auto"]
    scope: Literal["upload", "model_input"]
    threshold: float


class OutputSize(TypedDict):
    """How many of the bytes behind the JSON object are this output's."""

    binary_data_size: int


class BinaryOutput(TypedDict):
    """An output whose values follow the JSON object."""

    name: str
    datatype: str
    shape: list[int]
    parameters: OutputSize


class Output(TypedDict):
    """An output, one value an image."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float | str]


class InferResponse(TypedDict):
    """The outputs that were asked for, one value an image; `id` where the request had one."""

    id: NotRequired[str]
    model_name: str
    model_version: str
    parameters: AnswerParameters
    outputs: list[Output | BinaryOutput]
