"""The file as others run it: whatever its bytes say, at every optimisation level."""

import numpy as np
import onnx
import pytest

from goodcert import engine
from goodcert.engine.deployed import look
from goodcert.engine.sessions import LEVELS
from graphs import classifier, onnx_model, run_onnx

WEIGHTS = {"w": np.log(np.array([[1.0, 1, 2], [1, 2, 1]])).astype(np.float32)}


def linear(softmax=False, batch="N"):
    """At the point (1, 0) its logits are log 1, log 1 and log 2, so its confidence is 2/4."""
    operations = [("Flatten", ["x"], "f", {}), ("MatMul", ["f", "w"], "z" if softmax else "y", {})]
    operations += [("Softmax", ["z"], "y", {"axis": 1})] if softmax else []
    return onnx_model(operations, WEIGHTS, [batch, 1, 1, 2])


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_by_hand(softmax, batch):
    point = np.array([1, 0], np.float32).reshape(1, 1, 1, 2)
    ((*seen,),) = look(linear(softmax, batch).SerializeToString(), point)
    assert [told.level for told in seen] == list(LEVELS)
    for told in seen:
        assert told.error == (22 * 2.0**-24 if softmax else 0)
        assert told.confidence == pytest.approx(0.5, abs=2.0**-22)


def test_it_is_the_file_that_runs_and_not_what_is_made_of_it():
    model = classifier()
    points = np.random.default_rng(0).random((3, 1, 8, 8), np.float32)
    (logits,) = run_onnx(model, points)
    found = [row[0].confidence for row in look(model.SerializeToString(), points)]
    assert found == pytest.approx(np.exp(logits).max(1) / np.exp(logits).sum(1))


@pytest.mark.parametrize("seed", range(3))
def test_every_level_is_within_the_bounds_of_the_point(seed):
    model = classifier(seed)
    points = np.random.default_rng(seed).random((4, 1, 8, 8), np.float32)
    certificates = engine.compile(model, threads=1).certify(points, 0.0)
    for row, low, high in zip(
        look(model.SerializeToString(), points),
        certificates.confidence_lower_bound,
        certificates.confidence_upper_bound,
        strict=True,
    ):
        assert all(low <= told.confidence <= high for told in row)


def test_what_is_no_file_of_onnx_runtime_is_not_looked_at():
    broken = onnx.ModelProto()
    broken.CopyFrom(classifier())
    broken.graph.node[1].op_type = "Nothing"
    with pytest.raises(Exception, match="Nothing"):
        list(look(broken.SerializeToString(), np.zeros((1, 1, 8, 8), np.float32)))
