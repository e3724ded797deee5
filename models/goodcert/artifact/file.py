"""One ONNX file is one model: writing it with its metadata, reading it back."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx

from goodcert.artifact.errors import ArtifactError
from goodcert.artifact.metadata import Metadata


@dataclass(frozen=True)
class Artifact:
    """A model file in memory. `sha256` is of the file's bytes, in hexadecimal."""

    model: onnx.ModelProto
    metadata: Metadata
    sha256: str


def read(path: Path) -> Artifact:
    """Read a model file; raises ArtifactError when it is no ONNX file or lacks its metadata."""
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise ArtifactError(f"{path.name}: not an ONNX file") from error
    metadata = Metadata.from_props({entry.key: entry.value for entry in model.metadata_props})
    return Artifact(model, metadata, hashlib.sha256(data).hexdigest())


def write(model: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    """Write `model` with `metadata`, which replaces whatever `goodcert.*` entries it had."""
    stamped = onnx.ModelProto()
    stamped.CopyFrom(model)
    kept = {e.key: e.value for e in model.metadata_props if not e.key.startswith("goodcert.")}
    onnx.helper.set_model_props(stamped, kept | metadata.to_props())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stamped.SerializeToString(deterministic=True))
