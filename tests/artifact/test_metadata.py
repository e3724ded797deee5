"""What a model file says about itself survives the file, and nothing half-written is believed."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from goodcert.artifact import ArtifactError, Metadata, read, write

METADATA = Metadata(
    labels=("cat", "dog"), height=2, width=3, color="grey", epsilon="0.1", threshold=0.7, method="GOOD_80",
    recipe={"seed": 3, "ramp": [0.0, 0.5]}, results={"accuracy": 98.5},
)  # fmt: skip


def model() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "tiny",
        [value("x", TensorProto.FLOAT, ["N", 2])],
        [value("y", TensorProto.FLOAT, ["N", 2])],
    )
    return helper.make_model(graph)


def test_metadata_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m" / "1" / "model.onnx"
    write(model(), METADATA, path)
    assert read(path).metadata == METADATA


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write(model(), METADATA, tmp_path / "a.onnx")
    write(read(tmp_path / "a.onnx").model, METADATA, tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_metadata_replaces_what_was_there(tmp_path: Path) -> None:
    write(model(), METADATA, tmp_path / "a.onnx")
    write(read(tmp_path / "a.onnx").model, replace(METADATA, threshold=0.9), tmp_path / "a.onnx")
    assert read(tmp_path / "a.onnx").metadata.threshold == 0.9


def test_what_is_no_onnx_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ArtifactError, match=r"junk\.onnx"):
        read(tmp_path / "junk.onnx")


def test_a_file_without_metadata_says_what_is_missing(tmp_path: Path) -> None:
    onnx.save(model(), tmp_path / "bare.onnx")
    with pytest.raises(ArtifactError, match="labels"):
        read(tmp_path / "bare.onnx")


def test_an_unknown_entry_is_refused() -> None:
    with pytest.raises(ArtifactError, match="treshold"):
        Metadata.from_props(METADATA.to_props() | {"goodcert.treshold": "0.5"})


def test_a_malformed_entry_is_refused() -> None:
    with pytest.raises(ArtifactError, match="threshold"):
        Metadata.from_props(METADATA.to_props() | {"goodcert.threshold": "high"})


@pytest.mark.parametrize(
    "change",
    [{"labels": ("one",)}, {"labels": ("a", "a")}, {"threshold": 1.0}, {"color": "cmyk"}, {"resize": "bicubic"},
     {"height": 0}, {"format_version": 2}],
)  # fmt: skip
def test_values_that_cannot_be_are_refused_by_name(change: dict[str, object]) -> None:
    (name,) = change
    with pytest.raises(ArtifactError, match="size" if name == "height" else name):
        replace(METADATA, **change)  # type: ignore[arg-type]
