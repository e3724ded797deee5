"""What the protocol tells about the server and its models."""

from goodcert.serve.core.version import version
from goodcert.serve.oip.infer_request import INPUT
from goodcert.serve.oip.infer_response import COLUMNS
from goodcert.serve.oip.schemas import IndexEntry, ModelConfig, ModelMetadata, ServerMetadata
from goodcert.serve.repository.repository import Repository, ServedModel

SERVER = "goodcert"
PLATFORM = "goodcert_onnx"
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")


def server() -> ServerMetadata:
    """What answers, in which version, and which extensions of the protocol it has."""
    return {"name": SERVER, "version": version(), "extensions": list(EXTENSIONS)}


def model(served: ServedModel, versions: list[ServedModel]) -> ModelMetadata:
    """The model metadata. The input is declared as FP32; UINT8 and BYTES are taken under the same name."""
    shape = [-1, *served.engine.input_shape]
    return {
        "name": served.name,
        "versions": [other.version for other in versions],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": shape}],
        "outputs": [
            {"name": name, "datatype": column.datatype, "shape": [-1]} for name, column in COLUMNS.items()
        ],
    }


def config(served: ServedModel, max_batch_size: int) -> ModelConfig:
    """The model configuration: the same without the batch, and what the certificate depends on."""
    about = served.metadata
    parameters = {
        "epsilon": about.epsilon,
        "threshold": repr(about.threshold),
        "labels": "\n".join(about.labels),
        "bound_methods": ",".join([*served.engine.methods, "auto"]),
        "sha256": served.sha256,
        "version": served.version,
    }
    return {
        "name": served.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_batch_size,
        "input": [{"name": INPUT, "data_type": "TYPE_FP32", "dims": list(served.engine.input_shape)}],
        "output": [
            {"name": name, "data_type": _type(column.datatype), "dims": [1], "reshape": {"shape": []}}
            for name, column in COLUMNS.items()
        ],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }


def index(repository: Repository, ready_only: bool) -> list[IndexEntry]:
    """Every version of every model that was found, with why it does not answer where it does not."""
    served = [
        _entry(model.name, model.version, "" if model.sound else "it broke its guarantee")
        for model in repository.all()
    ]
    refused = [_entry(model.name, model.version, model.reason) for model in repository.refused]
    return [entry for entry in served + refused if entry["state"] == "READY" or not ready_only]


def _entry(name: str, version: str, reason: str) -> IndexEntry:
    return {"name": name, "version": version, "state": "UNAVAILABLE" if reason else "READY", "reason": reason}


def _type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
