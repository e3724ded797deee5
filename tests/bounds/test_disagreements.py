"""What tools read differently is refused by name, or bounded so that all of them are right."""

import re
from itertools import combinations

import numpy as np
import onnx
import onnxruntime
import pytest

from disagreements import DISAGREEMENTS, KINDS, Rejection, differ, read, refusal
from goodcert.bounds import interval_outputs

VERSIONS = f"onnx {onnx.__version__} and ONNX Runtime {onnxruntime.__version__}"


@pytest.mark.parametrize("name", DISAGREEMENTS)
def test_tools_disagree_about_it(name: str) -> None:
    entry = DISAGREEMENTS[name]
    first, *others = entry.tools
    said = read(entry, first)
    for tool in others:
        other = read(entry, tool)
        assert differ(said, other), (
            f"with {VERSIONS}, {first} and {tool} agree about {name!r}: {said} and {other}. Where they will go on "
            "doing so, the refusal may be lifted, and the entry taken out of tests/disagreements.py"
        )


@pytest.mark.parametrize("name", [name for name, entry in DISAGREEMENTS.items() if entry.refusal])
def test_it_is_refused_by_reason(name: str) -> None:
    assert re.search(DISAGREEMENTS[name].refusal, refusal(DISAGREEMENTS[name]))


@pytest.mark.parametrize("name", [name for name, entry in DISAGREEMENTS.items() if not entry.refusal])
def test_what_is_not_refused_is_bounded_for_every_tool(name: str) -> None:
    entry = DISAGREEMENTS[name]
    assert refusal(entry) == ""
    (lower,), (upper,) = interval_outputs(entry.model, entry.x, entry.x)
    for tool in entry.tools:
        y = read(entry, tool)
        assert isinstance(y, np.ndarray), f"{tool}: {y}"
        assert ((lower <= y) & (y <= upper)).all(), f"{tool}: {y} is outside of {lower} to {upper}"


def test_every_entry_has_a_name_of_its_own_and_some_kind() -> None:
    assert len(DISAGREEMENTS) == sum(len(kind.entries) for kind in KINDS) > 50


def test_readings_differ_by_refusal_shape_or_value_but_not_by_roundings() -> None:
    one, open_shape = np.ones((1, 2), np.float32), (None, 2)
    same = [one, one + np.float32(2.0**-23), (1, 2), open_shape]
    assert not [pair for pair in combinations(same, 2) if differ(*pair)]
    others = [one + np.float32(2.0**-10), np.full((1, 2), np.nan, np.float32), one[:, :1], Rejection("no")]
    assert all(differ(one, other) and differ(other, one) for other in others)
    assert not differ(Rejection("no"), Rejection("never"))
    assert differ((1, 3), open_shape)
