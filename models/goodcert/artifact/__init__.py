"""The model file: one ONNX file that carries everything the service must know."""

from goodcert.artifact.errors import ArtifactError
from goodcert.artifact.file import Artifact, parse, read, write
from goodcert.artifact.metadata import Metadata

__all__ = ["Artifact", "ArtifactError", "Metadata", "parse", "read", "write"]
