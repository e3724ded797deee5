"""What is refused before anything is compiled."""

from dataclasses import replace

import onnx
import pytest

from goodcert import zoo
from goodcert.bounds.joint import LOG_ODDS
from goodcert.engine import EngineError
from goodcert.engine.admission import MAX_ELEMENTS, admit, require_agreement
from graphs import classifier
from miniature import metadata


def test_a_classifier_is_admitted_with_its_shape_and_classes() -> None:
    admitted = admit(classifier(size=8, classes=5))
    assert (admitted.shape, admitted.classes, admitted.bounded) == ((1, 8, 8), 5, True)


def test_an_image_that_becomes_too_many_numbers_is_refused_before_it_runs() -> None:
    model: onnx.ModelProto = classifier()
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    sizes[2].dim_value = sizes[3].dim_value = 2**13
    assert MAX_ELEMENTS < 2**26
    with pytest.raises(EngineError, match=r"input 'x'.*at most"):
        admit(model)


def test_metadata_must_say_what_the_graph_does() -> None:
    require_agreement(metadata(), (1, 8, 8), 3, frozenset())
    for shape, classes in (((3, 8, 8), 3), ((1, 8, 9), 3), ((1, 8, 8), 4)):
        with pytest.raises(EngineError, match="the graph has"):
            require_agreement(metadata(), shape, classes, frozenset())


def test_metadata_may_only_name_a_head_that_the_graph_has() -> None:
    classifier_heads = admit(classifier(classes=3)).heads
    joint_heads = admit(zoo.folder() / "mnist-prood/1/model.onnx").heads
    said = replace(metadata(), head=LOG_ODDS)
    require_agreement(said, (1, 8, 8), 3, joint_heads)
    require_agreement(metadata(), (1, 8, 8), 3, joint_heads)
    for heads, name in ((classifier_heads, LOG_ODDS), (joint_heads, "classifier/logits"), (classifier_heads, "y")):
        with pytest.raises(EngineError, match="head"):
            require_agreement(replace(said, head=name), (1, 8, 8), 3, heads)
