"""What is stated against what follows: the models that ship, statements a hair off, and what is refused."""

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import onnx
import pytest

from chains import confidences, differences, random_chain, stated, told
from goodcert import engine, zoo
from goodcert.checker import BadClaim, NotCheckable, check
from graphs import classifier, onnx_model, run_onnx

FOLDER = zoo.folder() / "mnist-good100"


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def decimals(value: Any, digits: int) -> str:
    """Written out: 0.1000... with so many digits."""
    return mpmath.nstr(value, digits, min_fixed=-mpmath.inf, max_fixed=mpmath.inf)


@pytest.mark.parametrize("version", ["1", "2"])
def test_what_the_engine_certifies_of_the_models_that_ship_holds(version: str) -> None:
    path, pixels = FOLDER / version / "model.onnx", noise(28, 28)
    found = engine.compile(path).certify(pixels[None, None], 0.3)
    numbers = repr(float(found.confidence_upper_bound[0])), repr(float(found.confidence_lower_bound[0]))
    model = path.read_bytes()
    upper, lower = check(stated(model, "0.3", *numbers), model, pixels)
    assert 0 < upper.excess < Fraction(1, 1000)
    assert 0 <= lower.excess < Fraction(1, 1000)
    assert upper.exact[0] <= upper.exact[1] < Fraction(numbers[0])


@pytest.mark.parametrize("seed", range(3))
def test_a_statement_a_hair_on_the_wrong_side_is_refuted(seed: int) -> None:
    graph, matrices = random_chain(seed)
    model, pixels = told(graph), noise(6, 7)
    with mpmath.workdps(120):
        bounds = differences(matrices, pixels, Fraction("0.01"))
        upper, lower = confidences(bounds)
        hair = mpmath.mpf(10) ** -70
        below, above = decimals(upper - hair, 100), decimals(upper + hair, 100)
        under, over = decimals(lower - hair, 100), decimals(lower + hair, 100)
    assert [one.excess < 0 for one in check(stated(model, "0.01", below, over), model, pixels)] == [True, True]
    for one in check(stated(model, "0.01", above, under), model, pixels):
        assert Fraction(9, 10**71) < one.excess < Fraction(11, 10**71)


def test_the_next_float_below_the_exact_bound_is_refuted() -> None:
    model, pixels = told(classifier()), noise(8, 8)
    (exact, _), _ = (one.exact for one in check(stated(model, "0.001"), model, pixels))
    high = float(exact) if float(exact) >= exact else np.nextafter(float(exact), 2)
    low = np.nextafter(high, 0)
    for number, refuted in ((high, False), (low, True)):
        upper, _ = check(stated(model, "0.001", f"{number:.60f}"), model, pixels)  # every digit of it
        assert (upper.excess < 0) is refuted


@pytest.mark.parametrize("seed", range(6))
def test_at_radius_zero_both_bounds_are_what_the_model_computes(seed: int) -> None:
    graph, _ = random_chain(seed, opset=(9, 13, 17)[seed % 3])
    model, pixels = told(graph), noise(6, 7)
    upper, lower = check(stated(model, "0"), model, pixels)
    assert float(upper.exact[0]) == pytest.approx(float(lower.exact[0]), abs=1e-30)
    (served,) = run_onnx(graph, pixels[None, None] / np.float32(255))
    assert float(upper.exact[0]) == pytest.approx(served.max(), abs=1e-5)


def test_an_upload_in_colour_is_made_grey_for_a_grey_model() -> None:
    model, grey = told(classifier()), noise(8, 8)
    same = check(stated(model, "0.01"), model, np.stack([grey] * 3, axis=2))
    assert same == check(stated(model, "0.01"), model, grey)


def test_a_grey_upload_for_a_model_in_colour_has_it_in_each_channel() -> None:
    model, grey = told(classifier(channels=3), color="rgb"), noise(8, 8)
    same = check(stated(model, "0.01"), model, np.stack([grey] * 3, axis=2))
    assert same == check(stated(model, "0.01"), model, grey)


def test_a_bound_that_says_nothing_holds_for_any_number_of_classes() -> None:
    for classes in range(2, 12):
        model = told(classifier(classes=classes))
        _, lower = check(stated(model, "1", lower=repr(1 / classes)), model, noise(8, 8))
        assert lower.excess >= 0
        _, lower = check(stated(model, "1", lower=repr(float(np.nextafter(1 / classes, 1)))), model, noise(8, 8))
        assert lower.excess < 0


def test_equal_logits_are_told_apart_from_more() -> None:
    zeros = {"w": np.zeros((64, 10), np.float32), "b": np.zeros(10, np.float32)}
    steps = [("Flatten", ["x"], "f", {}), ("Gemm", ["f", "w", "b"], "y", {})]
    model = told(onnx_model(steps, zeros, ["N", 1, 8, 8]))
    upper, lower = check(stated(model, "1", "0.1", "0.1"), model, noise(8, 8))
    assert (upper.excess, lower.excess) == (0, 0)
    upper, _ = check(stated(model, "1", "0.0999"), model, noise(8, 8))
    assert upper.excess == Fraction("0.0999") - Fraction(1, 10)


def test_another_model_is_noticed() -> None:
    model = told(classifier())
    with pytest.raises(BadClaim, match="another one"):
        check(stated(model, "0"), model + b"\0", noise(8, 8))


@pytest.mark.parametrize("epsilon", ['"0.3"', "-1", "1.5", "NaN", "null", "true", "1e-500", "Infinity"])
def test_what_is_no_number_is_no_certificate(epsilon: str) -> None:
    model = told(classifier())
    with pytest.raises(BadClaim, match="epsilon: stated"):
        check(stated(model, epsilon), model, noise(8, 8))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", json.dumps({"method": "ibp", "norm": "linf", "scope": "upload"})]
)
def test_something_else_is_no_certificate(text: str) -> None:
    with pytest.raises(BadClaim, match="no certificate"):
        check(text.encode(), b"", noise(8, 8))


@pytest.mark.parametrize("claim", [{"method": "crown"}, {"norm": "l2"}, {"scope": "model_input"}])
def test_bounds_of_another_kind_are_refused(claim: dict[str, str]) -> None:
    model = told(classifier())
    with pytest.raises(NotCheckable, match=next(iter(claim.values()))):
        check(stated(model, "0", **claim), model, noise(8, 8))


@pytest.mark.parametrize("pixels", [noise(9, 8), noise(8, 8, 4), noise(8, 8).astype(np.uint16)])
def test_an_image_that_would_be_resized_is_refused(pixels: np.ndarray) -> None:
    model = told(classifier())
    with pytest.raises(NotCheckable, match="the image is"):
        check(stated(model, "0"), model, pixels)


@pytest.mark.parametrize("name", ["mnist-prood", "cifar10-prood"])
def test_joint_models_are_refused_in_one_sentence(name: str) -> None:
    model = (zoo.folder() / name / "1" / "model.onnx").read_bytes()
    with pytest.raises(NotCheckable, match=r"^this is a joint model; [^.]+$"):
        check(stated(model, "0"), model, noise(28, 28))


def changed(edit: Callable[[onnx.ModelProto], object]) -> bytes:
    graph = classifier()
    model = onnx.load_model_from_string(told(graph))
    edit(model)
    return model.SerializeToString()


def attribute(node: int, name: str, value: Any) -> Callable[[onnx.ModelProto], object]:
    def edit(model: onnx.ModelProto) -> None:
        found = model.graph.node[node]
        kept = [one for one in found.attribute if one.name != name]
        del found.attribute[:]
        found.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return edit


def operator(node: int, kind: str) -> Callable[[onnx.ModelProto], object]:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[node].op_type = kind

    return edit


def said(name: str) -> Callable[[onnx.ModelProto], object]:
    return lambda model: model.metadata_props.add(key=f"goodcert.{name}", value="0.5")


def infinite(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = np.float32(np.inf).tobytes() * 36


EDITS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "two imports": lambda model: model.opset_import.add(domain="ai.onnx", version=13),
    "another domain": lambda model: setattr(model.graph.node[1], "domain", "com.example"),
    "another operator": operator(1, "LeakyRelu"),
    "a function": lambda model: model.functions.add(name="Relu"),
    "two outputs": lambda model: model.graph.output.add(name="r"),
    "two inputs": lambda model: model.graph.input.add(name="w1"),
    "a name with two meanings": lambda model: model.graph.initializer.add(name="c"),
    "an input from elsewhere": lambda model: model.graph.node[4].input.__setitem__(0, "f"),
    "a branch": lambda model: model.graph.node.add(op_type="Relu", input=["c"], output=["z"]),
    "groups": attribute(0, "group", 2),
    "padding by rule": attribute(0, "auto_pad", "SAME_UPPER"),
    "negative padding": attribute(0, "pads", [-1, 1, 1, 1]),
    "another kernel": attribute(0, "kernel_shape", [5, 5]),
    "no stride": attribute(0, "strides", [0, 1]),
    "an unknown attribute": attribute(1, "slope", 0.5),
    "alpha": attribute(3, "alpha", 2.0),
    "a transposed image": attribute(3, "transA", 1),
    "another flattening": attribute(2, "axis", 2),
    "no flattening": lambda model: (model.graph.node[3].input.__setitem__(0, "r"), model.graph.node.pop(2)),
    "infinite weights": infinite,
    "weights elsewhere": lambda model: setattr(model.graph.initializer[0], "data_location", 1),
    "damaged weights": lambda model: setattr(model.graph.initializer[0], "raw_data", b"abc"),
    "a relu at the end": lambda model: (
        model.graph.node.add(op_type="Relu", input=["y"], output=["z"]),
        setattr(model.graph.output[0], "name", "z"),
    ),
    "normalised pixels": said("mean"),
    "a size said twice": said("height"),
    "another size": lambda model: setattr(model.metadata_props[1], "value", "9"),
    "nothing of itself": lambda model: model.metadata_props.pop(0),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_file_that_is_not_such_a_chain_is_refused_in_one_sentence(name: str) -> None:
    model = changed(EDITS[name])
    with pytest.raises(NotCheckable, match=r"exact checker|cannot be read") as refusal:
        check(stated(model, "0"), model, noise(8, 8))
    assert "\n" not in str(refusal.value)


def test_the_file_is_taken_without_these_edits() -> None:
    model = changed(lambda _: None)
    assert all(one.excess >= 0 for one in check(stated(model, "0"), model, noise(8, 8)))


def test_what_is_not_onnx_is_refused() -> None:
    with pytest.raises(NotCheckable, match="not ONNX"):
        check(stated(b"\xff", "0"), b"\xff", noise(8, 8))


def test_a_reshape_that_regroups_the_logits_is_refused() -> None:
    steps = [
        ("Flatten", ["x"], "f", {}), ("Gemm", ["f", "w"], "l", {}), ("Reshape", ["l", "pairs"], "y", {})
    ]  # fmt: skip
    constants = {"w": np.ones((64, 4), np.float32), "pairs": np.array([-1, 2])}
    model = told(onnx_model(steps, constants, ["N", 1, 8, 8]))
    with pytest.raises(NotCheckable, match="Reshape"):
        check(stated(model, "0"), model, noise(8, 8))
