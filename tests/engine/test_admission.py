"""What is refused before anything is compiled."""

import onnx
import pytest

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
    require_agreement(metadata(), (1, 8, 8), 3)
    for shape, classes in (((3, 8, 8), 3), ((1, 8, 9), 3), ((1, 8, 8), 4)):
        with pytest.raises(EngineError, match="the graph has"):
            require_agreement(metadata(), shape, classes)
