"""One ONNX file is one model: writing it with its metadata, reading it back."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import onnx

from goodcert.artifact import sidecar
from goodcert.artifact.errors import ArtifactError
from goodcert.artifact.metadata import PREFIX, Metadata


@dataclass(frozen=True)
class Artifact:
    """A model file in memory. `sha256` is of the file's bytes, in hexadecimal."""

    model: onnx.ModelProto
    metadata: Metadata
    sha256: str


def read(path: Path) -> Artifact:
    """Read a model file, with the sidecar beside it if there is one. Raises ArtifactError as `parse` does."""
    beside = sidecar.beside(path)
    return parse(path.read_bytes(), beside.read_bytes() if beside.is_file() else None, path.name)


def parse(data: bytes, beside: bytes | None = None, name: str = "model.onnx") -> Artifact:
    """The model in the bytes of an ONNX file, and its metadata from the file or from the sidecar `beside` it.

    Raises ArtifactError for what is no ONNX file, and unless exactly one of the two has all metadata.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's decode errors have no common public class
        raise ArtifactError(f"{name}: not an ONNX file, or not all of one") from error
    return Artifact(model, _metadata(model, beside), hashlib.sha256(data).hexdigest())


def _metadata(model: onnx.ModelProto, beside: bytes | None) -> Metadata:
    props = {entry.key: entry.value for entry in model.metadata_props}
    if beside is None:
        return Metadata.from_props(props)
    if any(name.startswith(PREFIX) for name in props):
        raise ArtifactError(f"the file has metadata of its own, and {sidecar.NAME} beside it; remove one of them")
    return sidecar.parse(beside)


def write(model: onnx.ModelProto, metadata: Metadata, path: Path) -> None:
    """Write `model` with `metadata`, which replaces whatever `goodcert.*` entries it had."""
    stamped = onnx.ModelProto()
    stamped.CopyFrom(model)
    kept = {e.key: e.value for e in model.metadata_props if not e.key.startswith(PREFIX)}
    onnx.helper.set_model_props(stamped, kept | metadata.to_props())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stamped.SerializeToString(deterministic=True))
