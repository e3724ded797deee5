"""The fuzzer of classifiers: it makes every operator, finds what is wrong, and nothing where all is right."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from goodcert import engine
from goodcert.bounds.rules import RULES
from goodcert.cli.main import main
from goodcert.evaluation.fuzzing import cases, classifiers, record, shares
from goodcert.evaluation.fuzzing.draft import IMAGE, Draft, NoFit
from goodcert.evaluation.fuzzing.evaluators import EVALUATORS, MISREAD
from goodcert.evaluation.fuzzing.search import Balls, against, search
from goodcert.evaluation.fuzzing.structures import STRUCTURES
from goodcert.evaluation.fuzzing.trial import attempt, summary
from goodcert.evaluation.fuzzing.unchecked import unchecked


def test_every_operator_that_has_a_rule_is_made() -> None:
    assert classifiers.MAKERS.keys() == RULES.keys()


def test_every_version_of_every_operator_leads_a_classifier_that_holds_it() -> None:
    for index, version in enumerate(classifiers.VERSIONS):
        made = classifiers.make(0, index)
        assert made.led_by == version
        assert version in made.versions


def test_a_classifier_follows_from_its_seed_and_number() -> None:
    first, again, other = (classifiers.make(seed, 33).model.SerializeToString() for seed in (1, 1, 2))
    assert first == again != other


def test_the_opset_is_that_of_the_standard_operators_where_two_are_stated() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(classifiers.make(0, 0).model)
    own = next(o for o in model.opset_import if not o.domain).version
    model.opset_import.insert(0, helper.make_opsetid("ai.onnx", own % 28 + 1))
    assert classifiers.RandomClassifier(model, "", ()).opset == own


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_can_be_made(structure: str) -> None:
    for seed in range(20):
        draft = Draft(np.random.default_rng(seed), 17, (2, 3, 4))
        try:
            assert STRUCTURES[structure](draft, IMAGE) in draft.shapes
        except NoFit:
            continue
        return
    pytest.fail("fitted nowhere")


def test_random_classifiers_do_not_contradict_their_certificates(tmp_path: Path) -> None:
    done = shares.run(2026, range(266, 532, 22), processes=1, seconds=20, folder=tmp_path)
    assert done.found == []
    assert done.tally.total.accepted >= 0.5 * done.tally.total.generated > 0


# --- it can fail --------------------------------------------------------------------------------------


def classifier(weight: float = 1.0, trigger: float = 0.0) -> onnx.ModelProto:
    """Two logits of images (N, 1, 2, 2): their sum times `weight`, and what a white upper and a black lower row
    make, times `trigger`, of a unit that is silent on nearly all others."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "first", "shift"], ["g"]),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("MatMul", ["h", "second"], ["y"]),
    ]
    first = np.array([[weight, 1.0], [weight, 1.0], [weight, -1.0], [weight, -1.0]], np.float32)
    tensors = {"first": first, "shift": np.float32([0, -1.9]), "second": np.float32([[1, -1], [trigger, 0]])}
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [info("x", 1, ["N", 1, 2, 2])], [info("y", 1, ["N", 2])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_every_evaluator_contradicts_the_certificates_of_another_file() -> None:
    certifier = engine.compile(classifier(), threads=1)
    found = search(certifier, classifier(weight=1.01), np.random.default_rng(0))
    assert {c.evaluator for c in found.contradictions} == EVALUATORS.keys()
    assert search(certifier, classifier(), np.random.default_rng(0)).contradictions == ()


def test_linear_bounds_that_are_another_files_are_contradicted() -> None:
    certifier, other = engine.compile(classifier(), threads=1), classifier(weight=1.01)
    assert "crown" in certifier.methods
    image = np.full((1, 1, 2, 2), 0.5, np.float32)
    certificates = certifier.certify(image, 0.0, "crown")
    balls = [Balls(image, 0.0, certificates, image[None])]
    (found,) = against("PyTorch", EVALUATORS["PyTorch"](other), balls, shares=False) or ()
    assert found.method == "crown"
    assert str(cases.replay(certifier, other, found)) == str(found)


def test_a_unit_that_is_silent_on_nearly_all_images_is_found() -> None:
    certifier, hint = engine.compile(classifier(), threads=1), np.float32([[[1, 1], [0, 0]]])
    found = search(certifier, classifier(trigger=1.0), np.random.default_rng(0), [hint])
    assert {c.evaluator for c in found.contradictions} == EVALUATORS.keys()
    points = {tuple(c.point.ravel()) for c in found.contradictions}
    assert points == {(1.0, 1.0, 0.0, 0.0)}


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_without_the_checks_the_fuzzer_finds_what_they_are_for(operator: str) -> None:
    """A MaxPool whose window is one longer than the padded axis, and an AveragePool SAME with steps longer than
    its window, of which ONNX Runtime computes other pixels than the formula of the operator."""
    window, factors = {"kernel_shape": [1, 4], "pads": [0, 0, 0, 1], "strides": [1, 2]}, [1, 4]
    if operator == "AveragePool":
        window, factors = {"auto_pad": "SAME_UPPER", "kernel_shape": [1, 1], "strides": [1, 2]}, [1, 2, -3, 4]
    draft = Draft(np.random.default_rng(1), 22, (1, 4, 4))
    hint = np.repeat([1, 0], 8).reshape(1, 4, 4).astype(np.float32)
    pattern = draft.constant(2 * hint[None] - 1)
    silent = draft.node("Relu", [draft.node("Conv", [IMAGE, pattern, draft.constant([-7.5])])])
    rows = draft.node("Mul", [silent, draft.constant(factors)])
    part = draft.node("Gather", [draft.node("Mul", [rows, draft.constant([0.25])]), draft.integers([0])], axis=3)
    both = draft.node("Concat", [draft.node(operator, [rows], **window), part], axis=3)
    model = classifiers.finished(draft, [draft.node("GlobalMaxPool", [both])])
    with pytest.raises(engine.EngineError, match=operator):
        engine.compile(model, threads=1)
    with unchecked():
        certifier = engine.compile(model, threads=1, validate=False)
    assert search(certifier, model, np.random.default_rng(0), [hint]).contradictions


@pytest.mark.parametrize(
    ("operator", "opset", "attributes"),
    [
        ("AveragePool", 22, {"kernel_shape": [1, 4], "strides": [1, 3], "ceil_mode": 1}),
        ("BatchNormalization", 9, {}),
        ("ConvTranspose", 17, {"group": 4, "strides": [2, 2]}),
        ("GlobalMaxPool", 17, {}),
        ("LRN", 17, {"size": 3, "alpha": 0.5}),
        ("LogSoftmax", 17, {"axis": 1}),
        ("MaxPool", 17, {"kernel_shape": [2, 3], "strides": [3, 2], "auto_pad": "SAME_LOWER"}),
    ],
)
def test_the_reference_misreads_what_it_is_not_asked_about(
    operator: str, opset: int, attributes: dict[str, object]
) -> None:
    """Should one of these fail with a newer onnx, its entry in MISREAD may go."""
    draft = Draft(np.random.default_rng(0), opset, (4, 5, 5))
    constants = {
        "BatchNormalization": [draft.constant(np.full(4, value)) for value in (1, 0, 0.3, 0.7)],
        "ConvTranspose": [draft.constant(np.arange(32).reshape(4, 1, 2, 4) / 32), draft.constant([1, 2, 3, 4])],
    }
    large = draft.node("Mul", [IMAGE, draft.constant([1000])])
    if operator == "GlobalMaxPool":
        large = draft.node("Reshape", [large, draft.integers([0, 4, 25])])
    output = draft.node(operator, [large, *constants.get(operator, [])], **attributes)
    image = helper.make_tensor_value_info(IMAGE, 1, ["N", 4, 5, 5])
    value = helper.make_tensor_value_info(output, 1, ["N", *draft.shapes[output]])
    graph = helper.make_graph(draft.nodes, "g", [image], [value], draft.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    images = np.random.default_rng(0).random((1, 4, 5, 5), dtype=np.float32)
    expected = EVALUATORS["ONNX Runtime, none"](model)(images)
    np.testing.assert_allclose(EVALUATORS["PyTorch"](model)(images), expected, rtol=1e-4, atol=1e-2)
    with pytest.raises(NotImplementedError, match=operator):
        EVALUATORS["onnx.reference"](model)
    with np.errstate(divide="ignore", invalid="ignore"):
        misread = ReferenceEvaluator(model).run(None, {IMAGE: images})[0]
    assert misread.shape != expected.shape or not np.allclose(misread, expected, rtol=1e-2, atol=1)


def test_what_the_reference_misreads_is_told_on_the_page() -> None:
    page = record.page([])
    assert all(operator in page for operator in MISREAD)


# --- cases and the record -----------------------------------------------------------------------------


def test_a_contradiction_is_written_out_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certifier, other = engine.compile(classifier(), threads=1), classifier(weight=1.01)
    (first, *_) = search(certifier, other, np.random.default_rng(0)).contradictions
    path = cases.save(tmp_path, "1-2-0", other, first)
    model, read = cases.load(path)
    assert model == other
    assert str(read) == str(first)
    assert str(cases.replay(certifier, model, read)) == str(first)
    assert main(["fuzz", "replay", str(path)]) == 0  # by its own engine the file is right
    assert "within what is certified" in capsys.readouterr().out


def test_runs_add_up(tmp_path: Path) -> None:
    tally = record.FuzzTally()
    for index in (0, 70):
        tally.count(attempt(5, index))
    run = record.Run("abc", 5, 0, 1, "onnxruntime 1", "AVX2", True, tally)
    path = tmp_path / "fuzzing.json"
    record.append(path, run)
    runs = record.append(path, run)
    assert record.read(path) == runs == [run, run]
    assert record.total(runs).total.generated == 4
    assert "| **all** | | | 4 |" in record.page(runs)


def test_a_reason_is_told_without_names_and_numbers() -> None:
    told = summary("node 'MaxPool v7' (MaxPool): gives shape (2, 1, 2, 0), expected 3.5 of 'it'\nand more")
    assert told == "(MaxPool): gives shape #, expected # of ..."


def test_the_command_writes_the_table_and_its_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "fuzzing.md"
    asked = ["fuzz", "classifiers", "--count", "3", "--seed", "4", "--cases", str(tmp_path), "--write", str(page)]
    assert main(asked) == 0
    assert "| Operator | versions |" in capsys.readouterr().out
    (run,) = json.loads(page.with_suffix(".json").read_text())
    assert (run["seed"], run["first"], run["last"], run["tally"]["total"]["generated"]) == (4, 0, 2, 3)
    assert "| 4 | 0 to 2 |" in page.read_text()


def test_versions_in_few_accepted_classifiers_lead_the_next_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "fuzzing.md"
    tally = record.FuzzTally(versions={v: record.Counts(accepted=record.ENOUGH) for v in classifiers.VERSIONS})
    tally.versions["MaxPool-12"] = record.Counts(generated=1000, accepted=record.ENOUGH - 1)
    del tally.versions["Celu-12"], tally.versions["LayerNormalization-17"]  # which no classifier may hold
    record.append(page.with_suffix(".json"), record.Run("abc", 5, 0, 1, "onnxruntime 1", "AVX2", True, tally))
    asked = ["fuzz", "classifiers", "--count", "2", "--cases", str(tmp_path), "--write", str(page), "--scarce"]
    assert main(asked) == 0
    _, run = record.read(page.with_suffix(".json"))
    assert run.leaders == ("Celu-12", "MaxPool-12")
    assert all(run.tally.versions[version].generated for version in run.leaders)
    assert "| 0 to 1 | 2 versions |" in page.read_text()
    assert main([*asked[:-3], "--scarce"]) == 2
    assert "expected --write" in capsys.readouterr().out
