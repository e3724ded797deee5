"""Shapes computed from the batch become constants where names of axes say what they are."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.graph import Graph
from goodcert.bounds.interpreter import prepare
from goodcert.bounds.reader import read_graph
from goodcert.bounds.rounding import FLOAT32
from graphs import Operation, onnx_model

BATCH: list[Operation] = [("Shape", ["x"], "s", {}), ("Gather", ["s", "zero"], "n", {"axis": 0})]


def ints(*values: int) -> NDArray[Any]:
    return np.array(values, np.int64)


CONSTANTS = {
    "zero": ints(0), "one": ints(1), "two": ints(2), "rest": ints(-1), "three": ints(3), "four": ints(4),
    "wide": ints(8, 9),
}  # fmt: skip


def graph_of(*operations: Operation, opset: int = 18) -> Graph:
    used = {name for _, inputs, _, _ in operations for name in inputs}
    constants = {name: value for name, value in CONSTANTS.items() if name in used}
    return read_graph(onnx_model(operations, constants, ["N", 2, 4, 3], opset=opset))


def target(graph: Graph) -> tuple[str, list[int]]:
    """The operator and the target of the last node."""
    node = graph.nodes[-1]
    return node.op, graph.constants[node.inputs[-1]].tolist()


def test_a_view_by_rows_keeps_the_first_axis() -> None:
    graph = graph_of(*BATCH, ("Concat", ["n", "rest"], "t", {"axis": 0}), ("Reshape", ["x", "t"], "y", {}))
    assert target(graph) == ("Reshape", [0, -1])
    assert len(graph.nodes) == 1


def test_the_batch_of_one_value_serves_another_of_the_same_rows() -> None:
    graph = graph_of(
        *BATCH, ("GlobalAveragePool", ["x"], "g", {}), ("Concat", ["n", "rest"], "t", {"axis": 0}),
        ("Reshape", ["g", "t"], "y", {}),
    )  # fmt: skip
    assert target(graph) == ("Reshape", [0, -1])


def test_the_batch_on_another_axis_is_what_is_left() -> None:
    graph = graph_of(*BATCH, ("Concat", ["four", "n", "two", "three"], "t", {"axis": 0}),
                     ("Reshape", ["x", "t"], "y", {}))  # fmt: skip
    assert target(graph) == ("Reshape", [4, -1, 2, 3])


def test_sizes_of_an_image_read_from_its_shape_are_known() -> None:
    graph = graph_of(
        ("Shape", ["x"], "s", {}), ("Gather", ["s", "three"], "w", {}), ("Mul", ["w", "two"], "d", {}),
        ("Concat", ["rest", "d", "four"], "t", {"axis": 0}), ("Reshape", ["x", "t"], "y", {}),
    )  # fmt: skip
    assert target(graph) == ("Reshape", [-1, 6, 4])


RESIZED: list[Operation] = [
    ("Shape", ["x"], "s", {}),
    ("Slice", ["s", "zero", "two"], "b", {}),
    ("Concat", ["b", "wide"], "t", {"axis": 0}),
    ("Resize", ["x", "", "", "t"], "y", {"mode": "nearest"}),
]  # fmt: skip


def test_a_resize_leaves_the_batch_out() -> None:
    graph = graph_of(*RESIZED)
    assert target(graph) == ("Resize", [2, 8, 9])
    assert graph.nodes[-1].attributes["axes"] == [1, 2, 3]


def test_before_a_resize_could_leave_axes_out_it_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"Shape|Slice|Concat"):
        prepare(graph_of(*RESIZED, opset=13), FLOAT32)


def test_an_expansion_broadcasts_the_batch() -> None:
    graph = graph_of(*BATCH, ("Concat", ["n", "two", "four", "three"], "t", {"axis": 0}),
                     ("Expand", ["x", "t"], "y", {}))  # fmt: skip
    assert target(graph) == ("Expand", [1, 2, 4, 3])
