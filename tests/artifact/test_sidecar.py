"""A sidecar says what a file does not, in the same words, and nothing else."""

from pathlib import Path

import pytest

from goodcert.artifact import ArtifactError, parse, read, write
from goodcert.artifact.sidecar import parse as parse_sidecar
from goodcert.artifact.sidecar import start
from hostile_models import METADATA, SIDECAR, changed, good, model


def bare() -> bytes:
    return changed(lambda made: made.ClearField("metadata_props"))


def test_a_sidecar_says_what_the_file_would() -> None:
    assert parse_sidecar(SIDECAR) == parse(bare(), SIDECAR).metadata == METADATA


def test_a_sidecar_is_found_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bare())
    (tmp_path / "model.toml").write_bytes(SIDECAR)
    assert read(tmp_path / "model.onnx").metadata == METADATA


def test_the_hash_is_of_the_model_file_alone() -> None:
    assert parse(bare(), SIDECAR).sha256 == parse(bare(), SIDECAR + b"# more\n").sha256


def test_metadata_in_both_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="remove one"):
        parse(good(), SIDECAR)
    write(model(), METADATA, tmp_path / "model.onnx")
    assert read(tmp_path / "model.onnx").metadata == METADATA


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [(b"method", b"metod", "metod.*is method"), (b'"0.1"', b"0.1", "epsilon"), (b"= 4", b"= 4.0", "height"),
     (b'"grey"', b'["grey"]', "color"), (b'["a", "b", "c"]', b'"abc"', "labels"), (b"0.5", b"nan", "threshold")],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_name(old: bytes, new: bytes, reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason):
        parse_sidecar(SIDECAR.replace(old, new))


def test_a_start_is_refused_until_its_owner_has_decided() -> None:
    with pytest.raises(ArtifactError, match="missing epsilon, threshold"):
        parse_sidecar(start((3, 32, 32), 10).encode())
    decided = start((3, 32, 32), 10) + 'epsilon = "0.01"\nthreshold = 0.9\n'
    assert parse_sidecar(decided.encode()).input_shape == (3, 32, 32)
