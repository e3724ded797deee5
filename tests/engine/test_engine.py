"""The engine as a user has it: certificates in order, the same in every batch, or a refusal by name."""

import importlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from goodcert import engine
from goodcert.bounds.ball import Ball
from goodcert.bounds.sequential import graph_of
from goodcert.bounds.writer import write_graph
from goodcert.engine import Certificates, Engine, EngineError
from goodcert.engine.engine import Evaluation
from graphs import Operation, classifier, onnx_model, run_onnx

RANDOM = np.random.default_rng(5)
FIELDS = ("index", "confidence", "confidence_lower_bound", "confidence_upper_bound", "margins")
FLATTEN: Operation = ("Flatten", ["x"], "f", {})
LAST: Operation = ("Gemm", ["f", "v"], "y", {})


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def pixels(count: int, *shape: int) -> np.ndarray:
    return RANDOM.random((count, *(shape or (1, 8, 8))), dtype=np.float32)


@pytest.fixture(scope="module")
def certifiers() -> dict[str, Engine]:
    return {}


@pytest.fixture
def certifier(certifiers: dict[str, Engine], device: str) -> Engine:
    if device not in certifiers:
        certifiers[device] = engine.compile(classifier(), device=device, threads=1)
    return certifiers[device]


def row(certificates: Certificates, i: int) -> dict[str, Any]:
    return {name: getattr(certificates, name)[i] for name in FIELDS}


def assert_same(got: dict[str, Any], expected: dict[str, Any], bits: bool) -> None:
    for name in FIELDS:
        if bits:
            assert np.array_equal(got[name], expected[name]), name
        else:
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-4, atol=1e-4)


def test_an_image_gets_the_same_answer_alone_in_any_batch_and_beside_any_neighbour(certifier: Engine) -> None:
    images = pixels(150)
    whole = certifier.certify(images, 0.05)
    for size in (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100, 129):
        part = certifier.certify(images[-size:], 0.05)
        for i in {0, size // 2, size - 1}:
            assert_same(row(part, i), row(whole, 150 - size + i), certifier.bit_identical)
    shuffled = RANDOM.permutation(150)
    mixed = certifier.certify(images[shuffled], 0.05)
    for i in range(0, 150, 7):
        assert_same(row(mixed, i), row(whole, int(shuffled[i])), certifier.bit_identical)


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 7, 11, 16, 43, 100])
def test_any_number_of_classes_is_certified_with_the_same_bits_in_every_batch(classes: int) -> None:
    certifier = engine.compile(classifier(classes=classes), threads=1)
    images = pixels(64)
    whole = certifier.certify(images, 0.02)
    for size in (1, 3, 5, 31, 33):
        assert_same(row(certifier.certify(images[-size:], 0.02), 0), row(whole, 64 - size), True)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.01, 0.3, 1.0])
def test_certificates_are_in_order(certifier: Engine, epsilon: float) -> None:
    images = np.concatenate([pixels(30), np.zeros((1, 1, 8, 8), np.float32), np.ones((1, 1, 8, 8), np.float32)])
    certificates = certifier.certify(images, epsilon)
    assert certificates.sound().all()
    assert certificates.possible()[np.arange(32), certificates.index].all()
    assert certificates.margins.shape == (32, 10, 10)
    assert (certificates.margins.diagonal(axis1=1, axis2=2) == 0).all()
    assert all(np.isfinite(getattr(certificates, name)).all() for name in FIELDS)


def test_at_epsilon_0_the_bound_exceeds_the_confidence_by_little(certifier: Engine) -> None:
    certificates = certifier.certify(pixels(40), 0.0)
    gap = certificates.confidence_upper_bound - certificates.confidence
    assert gap.min() > 0
    assert gap.max() < 1e-3


def test_a_larger_ball_never_has_a_lower_bound_but_for_rounding(certifier: Engine) -> None:
    images = pixels(20)
    bounds = [certifier.certify(images, e).confidence_upper_bound for e in (0, 0.001, 0.01, 0.1, 0.5, 1)]
    for smaller, larger in pairwise(bounds):
        assert (larger >= smaller - 1e-6).all()


def test_prediction_is_that_of_the_file(certifier: Engine) -> None:
    images = pixels(9)
    logits = run_onnx(classifier(), images)[0].astype(float)
    certificates = certifier.certify(images, 0.1)
    assert np.array_equal(certificates.index, logits.argmax(axis=1))
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(
        certificates.confidence, (softmax / softmax.sum(axis=1, keepdims=True)).max(axis=1), 1e-5
    )


def test_every_image_may_have_its_own_epsilon(certifier: Engine) -> None:
    images, epsilons = pixels(3), np.array([0.0, 0.1, 0.3])
    together = certifier.certify(images, epsilons)
    for i, epsilon in enumerate(epsilons):
        assert_same(row(together, i), row(certifier.certify(images, epsilon), i), certifier.bit_identical)


def test_bytes_are_pixels_over_255(certifier: Engine) -> None:
    images = RANDOM.integers(0, 256, (4, 1, 8, 8), dtype=np.uint8)
    as_bytes, as_floats = (certifier.certify(x, 0.1) for x in (images, (images / 255).astype(np.float32)))
    assert np.array_equal(as_bytes.confidence, as_floats.confidence)
    np.testing.assert_allclose(as_bytes.confidence_upper_bound, as_floats.confidence_upper_bound, atol=1e-5)


@pytest.mark.parametrize(
    ("images", "epsilon"),
    [
        (np.zeros((1, 1, 8, 7), np.float32), 0.1),
        (np.zeros((1, 8, 8), np.float32), 0.1),
        (np.zeros((1, 3, 8, 8), np.float32), 0.1),
        (np.zeros((1, 1, 8, 8)), 0.1),
        (np.full((1, 1, 8, 8), 1.5, np.float32), 0.1),
        (np.full((1, 1, 8, 8), np.nan, np.float32), 0.1),
        (np.zeros((1, 1, 8, 8), np.float32), -0.1),
        (np.zeros((1, 1, 8, 8), np.float32), 1.5),
        (np.zeros((1, 1, 8, 8), np.float32), np.nan),
        (np.zeros((2, 1, 8, 8), np.float32), np.zeros(3)),
    ],
)
def test_images_or_epsilon_that_cannot_be_are_refused(certifier: Engine, images: np.ndarray, epsilon: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  NumPy words the mismatch of lengths
        certifier.certify(images, epsilon)


def test_strided_and_reversed_images_mean_what_they_show(certifier: Engine) -> None:
    images = pixels(6)
    view = np.ascontiguousarray(images.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)[::-1]
    for i, expected in enumerate(range(5, -1, -1)):
        assert_same(
            row(certifier.certify(view, 0.1), i),
            row(certifier.certify(images, 0.1), expected),
            certifier.bit_identical,
        )


def test_a_model_that_could_overflow_is_given_no_guarantee(device: str) -> None:
    model = onnx_model([FLATTEN, LAST], {"v": weights(64, 3) * np.float32(2.0**100)}, ["N", 1, 8, 8])
    certificates = engine.compile(model, device=device, threads=1).certify(pixels(3), 0.0)
    assert (certificates.confidence_upper_bound == 1).all()
    assert (certificates.confidence_lower_bound == 1 / 3).all()
    assert certificates.sound().all()
    assert certificates.possible().all()


def test_a_final_softmax_is_left_to_the_engine(device: str) -> None:
    v = weights(64, 10)
    plain = onnx_model([FLATTEN, LAST], {"v": v}, ["N", 1, 8, 8])
    final: list[Operation] = [FLATTEN, ("Gemm", ["f", "v"], "l", {}), ("Softmax", ["l"], "y", {"axis": 1})]
    peeled = engine.compile(onnx_model(final, {"v": v}, ["N", 1, 8, 8]), device=device, threads=1)
    images = pixels(3)
    expected = engine.compile(plain, device=device, threads=1).certify(images, 0.1)
    for i in range(3):
        assert_same(row(peeled.certify(images, 0.1), i), row(expected, i), peeled.bit_identical)


CONV: Operation = ("Conv", ["x", "w"], "c", {})
NORM = {"s": [2.0, 1.0], "t": [0.5, 0.0], "m": [0.1, 0.2], "va": [1.5, 1.0]}
TAKEN: dict[str, tuple[list[Operation], dict[str, Any]]] = {
    "flatten alone": ([("Flatten", ["x"], "y", {})], {}),
    "no weights": (
        [("AveragePool", ["x"], "a", {"kernel_shape": [4, 4]}), ("Flatten", ["a"], "y", {})],
        {},
    ),
    "ends in pooling": (
        [CONV, ("GlobalAveragePool", ["c"], "g", {}), ("Flatten", ["g"], "y", {})],
        {"w": weights(4, 1, 3, 3)},
    ),
    "asymmetric pads": (
        [("Conv", ["x", "w"], "c", {"pads": [0, 1, 2, 0]}), ("Flatten", ["c"], "f", {}), LAST],
        {"w": weights(2, 1, 3, 3), "v": weights(112, 4)},
    ),
    "empty bias": ([FLATTEN, ("Gemm", ["f", "v", ""], "y", {})], {"v": weights(64, 4)}),
    "two that do nothing": (
        [("Dropout", ["x"], "d", {}), ("Identity", ["d"], "e", {}), ("Flatten", ["e"], "f", {}), LAST],
        {"v": weights(64, 4)},
    ),
    "norm first": (
        [
            ("Conv", ["x", "w"], "c", {}), ("Relu", ["c"], "r", {}),
            ("BatchNormalization", ["r", "s", "t", "m", "va"], "n", {}), ("Flatten", ["n"], "f", {}), LAST,
        ],
        {"w": weights(2, 1, 3, 3), "v": weights(72, 4), **NORM},
    ),
    "norm after a dense relu": (
        [
            FLATTEN, ("Gemm", ["f", "w"], "h", {}), ("Relu", ["h"], "r", {}),
            ("BatchNormalization", ["r", "s", "t", "m", "va"], "n", {}), ("Gemm", ["n", "v"], "y", {}),
        ],
        {"w": weights(64, 2), "v": weights(2, 4), **NORM},
    ),
    "patches": (
        [
            ("Reshape", ["x", "p"], "q", {}), ("MatMul", ["q", "w"], "m", {}), ("Add", ["m", "b"], "a", {}),
            ("Flatten", ["a"], "f", {}), LAST,
        ],
        {"p": np.array([0, 4, 16]), "w": weights(16, 3), "b": weights(3), "v": weights(12, 4)},
    ),
    "residual": (
        [
            ("Conv", ["x", "w"], "c", {"pads": [1] * 4}), ("Add", ["c", "x"], "a", {}),
            ("Relu", ["a"], "r", {}), ("Flatten", ["r"], "f", {}), LAST,
        ],
        {"w": weights(1, 1, 3, 3), "v": weights(64, 4)},
    ),
    "elementwise": (
        [
            ("Sub", ["k", "x"], "a", {}), ("Div", ["a", "k"], "b", {}), ("Mul", ["k", "b"], "c", {}),
            ("Flatten", ["c"], "f", {}), LAST,
        ],
        {"k": [[[0.3]]], "v": weights(64, 4)},
    ),
    "pools": (
        [
            ("MaxPool", ["x"], "a", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("AveragePool", ["a"], "b", {"kernel_shape": [3, 3], "pads": [1] * 4}),
            ("Flatten", ["b"], "f", {}), LAST,
        ],
        {"v": weights(16, 4)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("operations", "constants"), list(TAKEN.values()), ids=list(TAKEN))
def test_classifier_of_known_operators_is_certified(
    operations: list[Operation], constants: Any, device: str
) -> None:
    model = onnx_model(operations, constants, ["N", 1, 8, 8])
    certifier = engine.compile(model, device=device, threads=1)
    images = pixels(5)
    certificates = certifier.certify(images, 0.05)
    assert certificates.sound().all()
    logits = run_onnx(model, images)[0].astype(float)
    np.testing.assert_allclose(certifier.logits(images), logits, rtol=1e-4, atol=1e-5)
    assert (logits[:, :, None] - logits[:, None, :] <= certificates.margins + 1e-5).all()


COUPLED: list[Operation] = [  # every image added to every image
    ("Reshape", ["x", "s1"], "a", {}), ("Reshape", ["x", "s2"], "b", {}), ("Add", ["a", "b"], "c", {}),
    ("Reshape", ["c", "s3"], "d", {}), ("AveragePool", ["d"], "e", {"kernel_shape": [64], "strides": [64]}),
]  # fmt: skip
SHAPES = {"s1": np.array([0, 64]), "s2": np.array([0, 1, 64]), "s3": np.array([0, 1, -1])}
REFUSED: dict[str, tuple[list[Operation], dict[str, Any], str]] = {
    "unknown operator": ([FLATTEN, ("Cos", ["f"], "y", {})], {}, r"'node1' \(Cos\)"),
    "folded batch": (
        [("Flatten", ["x"], "f", {"axis": 0}), ("Reshape", ["f", "s"], "y", {})],
        {"s": np.array([-1, 64])},
        r"'node0' \(Flatten\) couples",
    ),
    "fixed rows": ([("Reshape", ["x", "s"], "y", {})], {"s": np.array([1, -1])}, r"'node0' \(Reshape\) couples"),
    "constant rows": ([FLATTEN, ("Add", ["f", "c"], "y", {})], {"c": weights(2, 64)}, "batch of"),
    "images against images": (
        [*COUPLED, ("GlobalAveragePool", ["e"], "g", {}), ("Flatten", ["g"], "f", {}), LAST],
        {**SHAPES, "v": weights(1, 4)},
        r"'node2' \(Add\)",
    ),
    "classes that are images": ([*COUPLED, ("Flatten", ["e"], "y", {})], SHAPES, r"'node2' \(Add\)"),
    "bias for each row": (
        [FLATTEN, ("Gemm", ["f", "v", "c"], "y", {})],
        {"v": weights(64, 3), "c": weights(3, 1)},
        r"'node1' \(Gemm\)",
    ),
    "one class": ([FLATTEN, LAST], {"v": weights(64, 1)}, r"output shape \('N', 1\)"),
    "images as output": ([("Relu", ["x"], "y", {})], {}, "output shape"),
    "operator on weights alone": (
        [FLATTEN, ("Relu", ["v"], "w", {}), ("Gemm", ["f", "w"], "y", {})],
        {"v": weights(64, 3)},
        r"'node\d' \(\w+\)",
    ),
    "shapes that do not fit": ([FLATTEN, LAST], {"v": weights(63, 3)}, "does not run"),
    "logits that overflow": ([FLATTEN, LAST], {"v": np.sign(weights(64, 3)) * np.float32(3e38)}, "self-check"),
}


@pytest.mark.parametrize(("operations", "constants", "reason"), list(REFUSED.values()), ids=list(REFUSED))
def test_model_that_cannot_be_certified_is_refused_by_name(
    operations: list[Operation], constants: Any, reason: str
) -> None:
    with pytest.raises(EngineError, match=reason):
        engine.compile(onnx_model(operations, constants, ["N", 1, 8, 8]), threads=1)


@pytest.mark.parametrize("shape", [["N", 64], ["N", 1, "H", 8], ["N", 1, 8, 8, 1], ["N", 1, 0, 8]])
def test_input_that_is_not_images_of_one_size_is_refused(shape: list[int | str]) -> None:
    with pytest.raises(EngineError, match=r"input shape|does not run"):
        engine.compile(onnx_model([FLATTEN, LAST], {"v": weights(64, 3)}, shape), threads=1)


def test_two_outputs_are_refused() -> None:
    model = onnx_model([FLATTEN, LAST], {"v": weights(64, 3)}, ["N", 1, 8, 8], outputs=["y", "f"])
    with pytest.raises(EngineError, match="expected exactly one"):
        engine.compile(model, threads=1)


def test_a_file_is_read_from_its_path_and_must_hold_its_weights(tmp_path: Path) -> None:
    onnx.save_model(classifier(), tmp_path / "m.onnx")
    assert engine.compile(tmp_path / "m.onnx", threads=1).classes == 10
    onnx.save_model(
        classifier(), tmp_path / "e.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin"
    )
    with pytest.raises(EngineError, match="external data"):
        engine.compile(tmp_path / "e.onnx", threads=1)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(EngineError):
        engine.compile(tmp_path / "m.onnx", threads=1)


def test_sum_of_two_branches_is_certified_as_the_runtime_rounds_it() -> None:
    """A runtime that adds the second branch into the sums of a convolution rounds it once a block of channels: of
    2^20 + 1.92 nothing but 2^20 is left, and the confidence is 1 / (1 + exp(-6)) instead of 0.54."""
    channels, height = 512, 2.0**20
    kernel = np.zeros((channels, channels, 3, 3), np.float32)
    kernel[:, :, 1, 1] = 0.06 / 16
    last = np.zeros((channels, 2), np.float32)
    last[0, 0] = -3
    constants = {
        "w": kernel, "v": last, "b": [6.0, 0.0], "k": [[[height]]],
        "u": np.full((channels, 1, 1, 1), height, np.float32),
    }  # fmt: skip
    operations: list[Operation] = [
        ("Conv", ["x", "w"], "a", {"pads": [1] * 4}), ("Conv", ["x", "u"], "c", {"group": channels}),
        ("Add", ["a", "c"], "s", {}), ("Relu", ["s"], "r", {}), ("Sub", ["r", "k"], "d", {}),
        ("Relu", ["d"], "e", {}), ("Flatten", ["e"], "f", {}), ("Gemm", ["f", "v", "b"], "y", {}),
    ]  # fmt: skip
    certifier = engine.compile(onnx_model(operations, constants, ["N", channels, 1, 1]), threads=1)
    assert certifier.certify(np.full((1, channels, 1, 1), 255, np.uint8), 0.0).sound().all()


def test_a_second_head_behind_a_softmax_is_refused_and_not_dropped() -> None:
    operations: list[Operation] = [
        FLATTEN,
        ("Gemm", ["f", "a"], "za", {}), ("Softmax", ["za"], "pa", {"axis": 1}),
        ("Gemm", ["f", "b"], "zb", {}), ("Softmax", ["zb"], "pb", {"axis": 1}),
    ]  # fmt: skip
    model = onnx_model(
        operations, {"a": weights(64, 3), "b": weights(64, 5)}, ["N", 1, 8, 8], outputs=["pa", "pb"]
    )
    with pytest.raises(EngineError, match="expected exactly one"):
        engine.compile(model, threads=1)


def test_the_number_of_threads_changes_no_bit() -> None:
    """Wide last layers are where ONNX Runtime's own threads sum in another order."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 512), torch.nn.ReLU(), torch.nn.Linear(512, 10)
    )
    model = write_graph(graph_of(net, (1, 8, 8)))
    images = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
    one, two = (engine.compile(model, threads=threads).certify(images, 0.05) for threads in (1, 2))
    for name in ("confidence", "confidence_upper_bound", "confidence_lower_bound", "margins"):
        assert np.array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize(("classes", "most"), [(10, 64), (600, 46)])
def test_memory_is_bounded_by_evaluating_so_many_rows_at_a_time(classes: int, most: int) -> None:
    sizes = []

    def evaluate(ball: Ball) -> Evaluation:
        sizes.append(len(ball.point))
        return Evaluation(ball.point.reshape(len(ball.point), -1), np.zeros((len(ball.point), classes, classes)))

    images = np.zeros((70, 1, 1, classes), np.float32)
    images[:, 0, 0, 0] = np.linspace(0, 1, 70)
    made = Engine(lambda x: x, evaluate, classes, (1, 1, classes), "cpu").certify(images, 0.1)
    assert max(sizes) == most
    assert sum(sizes) == 70
    assert (np.diff(made.confidence) > 0).all()  # in order


def test_loading_uses_one_thread_of_torch_and_leaves_the_rest_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("goodcert.engine.compile")
    admit, seen = module.admit, []

    def watched(model: onnx.ModelProto) -> object:
        seen.append(torch.get_num_threads())
        return admit(model)

    monkeypatch.setattr(module, "admit", watched)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        engine.compile(classifier(), threads=1)
        with pytest.raises(EngineError):
            engine.compile(onnx.ModelProto(), threads=1)
        assert (seen, torch.get_num_threads()) == ([1, 1], 2)
    finally:
        torch.set_num_threads(before)
