"""What the file itself gives is held against what is stated about it."""

import pytest

from goodcert.engine.deployed import Deployment
from goodcert.serve.proof.recompute import _about_confidence, _about_file

BODY = {"confidence_lower_bound": 0.25, "confidence_upper_bound": 0.5}


@pytest.mark.parametrize(
    ("found", "error", "named"),
    [
        (0.25, 0, None),
        (0.5, 0, None),
        (
            0.50000001,
            0,
            "confidence_upper_bound: stated 0.5, but at optimisation level basic ONNX Runtime gives 0.50",
        ),
        (
            0.24999999,
            0,
            "confidence_lower_bound: stated 0.25, but at optimisation level basic ONNX Runtime gives 0.24",
        ),
        (0.50000001, 2.0**-20, None),
        (0.24999999, 2.0**-20, None),
        (0.51, 2.0**-20, "confidence_upper_bound"),
        (float("nan"), 0, "confidence_lower_bound"),
    ],
)
def test_a_file_that_leaves_the_bounds_refutes_them(found: float, error: float, named: str | None) -> None:
    faults = list(_about_file(BODY, [Deployment("all", 0.3, 0), Deployment("basic", found, error)]))
    assert (faults == []) if named is None else faults[0].startswith(named)


def test_at_the_point_the_file_and_the_claim_are_within_the_bounds_of_the_point() -> None:
    own = (0.3, 0.4)
    assert list(_about_confidence(0.3, own, [Deployment("all", 0.4, 0)])) == []
    (claim,) = _about_confidence(0.29, own, [Deployment("all", 0.4, 0)])
    assert claim.startswith("confidence: stated 0.29, but every evaluation is in [0.3, 0.4]")
    (file,) = _about_confidence(0.3, own, [Deployment("none", 0.41, 0)])
    assert "at optimisation level none ONNX Runtime gives 0.41 for the file" in file
