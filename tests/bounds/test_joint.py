"""Joint models: recognised by their nodes alone, bounded by the discriminator, never below what is served."""

from dataclasses import replace
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from goodcert.bounds.classifier import MarginModule
from goodcert.bounds.confidence import confidence_lower_bound, confidence_upper_bound
from goodcert.bounds.graph import Graph, Node
from goodcert.bounds.interval import Interval
from goodcert.bounds.joint import Head, JointDifferences, head, join
from goodcert.bounds.reader import read_graph
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.engine.prediction import Predictor, confidence

SHAPE = (1, 1, 3)


def dense(outputs: int, scale: float = 1.0, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layer = nn.Linear(3, outputs)
    with torch.no_grad():
        layer.weight *= scale
    return nn.Sequential(nn.Flatten(), layer)


def joint(classes: int = 4, scale: float = 1.0) -> Graph:
    return join(graph_of(dense(classes, scale), SHAPE), graph_of(dense(1, scale, seed=1), SHAPE), classes)


def passing(classes: int) -> Graph:
    """Pixels 0 to K - 1 are the logits, pixel K the log-odds."""
    shape = (1, 1, classes + 1)

    def picking(rows: slice) -> Graph:
        nodes = (Node("Flatten", ("images",), "f", {"axis": 1}), Node("Gemm", ("f", "w"), "y", {"transB": 1}))
        return Graph("images", (None, *shape), ("y",), nodes, {"w": torch.eye(classes + 1)[rows]})

    return join(picking(slice(0, classes)), picking(slice(classes, classes + 1)), classes)


def served(graph: Graph, x: NDArray[np.float32]) -> NDArray[np.float64]:
    return confidence(Predictor(write_graph(graph), 1)(x))


def differences(classes: int) -> JointDifferences:
    found = head(passing(classes))
    assert found is not None
    return JointDifferences(found)


# --- which graphs are joint ---------------------------------------------------------------------------


def test_a_joint_graph_is_recognised_after_the_file_whatever_its_names() -> None:
    written = read_graph(write_graph(joint()))
    for name in [node.output for node in written.nodes] + list(written.constants):
        nodes = tuple(
            replace(n, inputs=tuple("~" + i if i == name else i for i in n.inputs),
                    output="~" + n.output if n.output == name else n.output)
            for n in written.nodes
        )  # fmt: skip
        constants = {("~" + k if k == name else k): v for k, v in written.constants.items()}
        outputs = tuple("~" + o if o == name else o for o in written.outputs)
        found = head(replace(written, nodes=nodes, constants=constants, outputs=outputs))
        assert found is not None
        assert found.classes == 4


def test_the_discriminator_is_all_that_is_left_to_bound() -> None:
    found = head(read_graph(write_graph(joint())))
    assert found is not None
    assert [node.op for node in found.discriminator.nodes] == ["Flatten", "Gemm"]


def changed(graph: Graph, output: str, **changes: Any) -> Graph:
    return replace(graph, nodes=tuple(replace(n, **changes) if n.output == output else n for n in graph.nodes))


@pytest.mark.parametrize(
    ("output", "changes"),
    [
        ("L_at_most_0", {"op": "Max"}),  # the posterior would no longer be at most 1
        ("L_at_most_0", {"op": "Identity", "inputs": ("L",)}),
        ("L", {"op": "Softmax"}),
        ("g", {"attributes": {"axes": [1], "keepdims": 0}}),
        ("c", {"inputs": ("softplus_s", "zero")}),
        ("zero_and_t", {"inputs": ("t_alone", "zero_before", "log_K")}),  # log K in place of 0
        ("t", {"inputs": ("L", "e")}),
        ("log_p", {"op": "Add"}),
        ("log_p", {"inputs": ("g", "softplus_s")}),
    ],
)
def test_a_graph_with_another_node_in_its_head_is_no_joint_model(output: str, changes: dict[str, Any]) -> None:
    assert head(joint()) is not None
    assert head(changed(joint(), output, **changes)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("log_K", torch.tensor([[1.0]])),
        ("log_K", torch.full((1, 4), 4.0).log()),
        ("zero", torch.tensor([[0.5]])),
        ("zero_before", torch.tensor([0, 0, 0, 0, 0, 1])),
        ("last_axis", torch.tensor([1])),
    ],
)
def test_a_graph_with_another_constant_in_its_head_is_no_joint_model(name: str, value: torch.Tensor) -> None:
    graph = joint()
    assert head(replace(graph, constants={**graph.constants, name: value})) is None


def test_log_odds_that_differ_between_the_classes_are_no_discriminator() -> None:
    graph = join(graph_of(dense(4), SHAPE), graph_of(dense(4, seed=1), SHAPE), 4)
    assert head(graph) is None


def test_graphs_of_another_opset_are_not_joined() -> None:
    newer = replace(graph_of(dense(4), SHAPE), opset=18)
    with pytest.raises(ValueError, match="opsets 18 and 17, expected 17"):
        join(newer, graph_of(dense(1, seed=1), SHAPE), 4)
    assert head(replace(joint(), opset=18)) is None


def test_other_classifiers_are_not_joint() -> None:
    assert head(graph_of(dense(4), SHAPE)) is None


# --- the bound ----------------------------------------------------------------------------------------


def test_the_bound_is_the_share_inside_plus_the_uniform_rest() -> None:
    # log-odds of at most log 4: p(in) is at most 4/5, so 4/5 + 1/5 / 10
    box = Interval(torch.tensor([[-9.0]]), torch.tensor([[4.0]]).log())
    (bound,) = confidence_upper_bound(differences(10)(box).numpy())
    assert 0.82 <= bound <= 0.82 + 1e-5


@pytest.mark.parametrize("log_odds", [-200.0, -30.0, -5.0, 0.0, 5.0, 15.0])
def test_the_bound_is_above_the_real_one_and_close_to_it(log_odds: float) -> None:
    point = torch.tensor([[log_odds]])
    (bound,) = confidence_upper_bound(differences(10)(Interval(point, point)).numpy())
    inside = 1 / (1 + mpmath.exp(-mpmath.mpf(log_odds)))
    real = inside + (1 - inside) / 10
    assert real <= float(bound) <= min(1.0, float(real) + 1e-5)


def test_infinite_and_undefined_log_odds_guarantee_nothing() -> None:
    for value in (torch.inf, torch.nan, 2.0**70):
        point = torch.tensor([[value]])
        assert confidence_upper_bound(differences(10)(Interval(point, point)).numpy()).tolist() == [1.0]


@given(st.integers(0, 2**32), st.sampled_from([2, 3, 10, 43]), st.sampled_from([0.1, 1.0, 10.0, 1000.0]))
def test_what_is_served_is_never_above_the_bound(seed: int, classes: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    graph = passing(classes)
    pixels = (random.standard_normal((64, 1, 1, classes + 1)) * scale).astype(np.float32)
    pixels[:, 0, 0, -1] = random.uniform(-20, 20, 64)
    pixels[::2, 0, 0, 0] += np.float32(30 + 30 * scale)  # a classifier that is sure: the bound is nearly reached
    got = served(graph, pixels)
    odds = torch.from_numpy(pixels[:, 0, 0, -1:])
    bound = confidence_upper_bound(differences(classes)(Interval(odds, odds)).numpy())
    assert (got <= bound).all()
    assert (bound[::2] - got[::2] < 2e-5).mean() > 0.8


def test_no_box_of_images_holds_one_that_is_served_above_the_bound() -> None:
    for scale in (0.5, 5.0, 50.0, 1e12):
        graph, random = joint(scale=scale), np.random.default_rng(0)
        centre = random.random((40, *SHAPE), dtype=np.float32)
        lower, upper = np.maximum(centre - np.float32(0.1), 0), np.minimum(centre + np.float32(0.1), 1)
        margins = MarginModule(graph)(torch.from_numpy(lower), torch.from_numpy(upper)).detach().numpy()
        bound, least = confidence_upper_bound(margins), confidence_lower_bound(margins)
        for corner in np.ndindex(2, 2, 2):
            x = np.where(np.array(corner).reshape(SHAPE) == 1, upper, lower)
            assert (served(graph, x) <= bound).all()
        assert (least == 0.25).all()


def test_the_margins_do_not_depend_on_the_classifier() -> None:
    boxes = torch.rand(5, *SHAPE), torch.rand(5, *SHAPE) + 1
    discriminator = graph_of(dense(1, seed=1), SHAPE)
    sure, unsure = (join(graph_of(dense(4, scale), SHAPE), discriminator, 4) for scale in (1e3, 0.0))
    assert torch.equal(MarginModule(sure)(*boxes), MarginModule(unsure)(*boxes))


# --- what is assumed of a log-sum-exp -----------------------------------------------------------------


def test_log_sum_exp_of_0_and_t_errs_by_less_than_is_assumed() -> None:
    t = np.concatenate(
        [np.linspace(-120, 120, 4001), np.geomspace(1e-30, 1e30, 200), -np.geomspace(1e-30, 1e30, 200)]
    )
    t = t.astype(np.float32)
    real = np.array([float(mpmath.log1p(mpmath.exp(mpmath.mpf(float(v)))) if v < 100 else v) for v in t])
    allowed = 2.0**-20 * np.maximum(t.astype(np.float64), 0) + 2.0**-20
    pairs = torch.stack([torch.zeros(len(t)), torch.from_numpy(t)], dim=1)
    nodes = (Node("ReduceLogSumExp", ("x",), "y", {"axes": [1], "keepdims": 0}),)
    deployed = Predictor(write_graph(Graph("x", (None, 2), ("y",), nodes, {})), 1)(pairs.numpy())
    for got in (deployed, pairs.logsumexp(dim=1).numpy()):
        assert (np.abs(got.astype(np.float64) - real) <= allowed / 2).all()


def test_a_head_holds_the_number_of_classes_in_float32() -> None:
    found = head(joint())
    assert isinstance(found, Head)
    assert found.shift.item() == np.float32(np.log(4))
