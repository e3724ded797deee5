"""The attempts to break the bounds: none succeeds, all could, and the report says so."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from exact import affine, rational, relu
from goodcert.cli import main
from goodcert.evaluation import soundness
from goodcert.evaluation.hard_networks import NETS, WIDE_NETS, Factory, Layers
from goodcert.evaluation.soundness import SoundnessRow, attempts, exact_values, quotients


@pytest.mark.parametrize("kind", NETS)
def test_no_evaluation_escapes_and_some_would_without_the_margin(kind: str) -> None:
    found = attempts({kind: NETS[kind]}, boxes=3)
    row = next(found) + next(found)
    assert row.checks > 20_000
    assert row.escapes == 0
    assert row.excess == 0
    assert row.plain_escapes > 0
    assert 0 < row.plain_excess < 1


def narrow(factory: Factory, columns: int) -> Factory:
    def layers(random: np.random.Generator) -> Layers:
        (weight, bias), *rest = factory(random)
        return [(weight[:, :columns], bias), *rest]

    return layers


@pytest.mark.parametrize("kind", WIDE_NETS)
def test_wide_layers_hold_too(kind: str) -> None:
    """An eighth of the width; the command has all of it."""
    row = next(attempts({kind: narrow(WIDE_NETS[kind], 3136)}, boxes=1))
    assert row.escapes == 0
    assert row.plain_escapes > 0


def test_exact_values_are_those_of_fractions() -> None:
    layers = NETS["denormal"](np.random.default_rng(1))
    x = np.random.default_rng(2).random((2, layers[0][0].shape[1]), dtype=np.float32)
    low, high = exact_values(layers, x)
    for point, below, above in zip(x, low, high, strict=True):
        value, features = rational(point), []
        for weight, bias in layers:
            value, _ = affine(rational(weight), rational(bias), value, value)
            features += list(value)
            last, (value, _) = value, relu(value, value)
        exact = [*features, *(last[k] - last[j] for k in range(4) for j in range(k + 1, 4))]
        assert all(Fraction(a) <= y <= Fraction(b) for a, y, b in zip(below, exact, above, strict=True))
        assert all(b - a <= 1e-6 * abs(b) + 1e-44 for a, b in zip(below, above, strict=True))


def test_quotients_enclose_what_float64_cannot_hold() -> None:
    low, high = quotients(np.array([3, 2**60 + 1, -(2**60) - 1], dtype=object), 1)
    assert low.tolist() == [1.5, 2.0**59, -(2.0**59) - 128]
    assert high.tolist() == [1.5, 2.0**59 + 128, -(2.0**59)]


def test_rows_add_up_and_the_table_ends_with_their_sum() -> None:
    rows = [
        SoundnessRow("a", 10, 0, 0.0, 3, 0.5),
        SoundnessRow("b", 1, 0, 0.0, 1, 0.25),
        SoundnessRow("a", 5, 1, 0.125, 0, 0.0),
    ]
    collected = soundness.collect(rows)
    assert collected == [SoundnessRow("a", 15, 1, 0.125, 3, 0.5), SoundnessRow("b", 1, 0, 0.0, 1, 0.25)]
    assert soundness.table(collected).splitlines()[-1] == "| all | 16 | 1 | 1.2e-01 | 4 | 5.0e-01 |"


def test_an_evaluation_outside_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the margin would be forgotten: the certified bounds are computed in plain float32."""
    monkeypatch.setattr(soundness, "FLOAT32", soundness.EXACT)
    row = next(attempts({"monotone": NETS["monotone"]}, boxes=2))
    assert row.escapes == row.plain_escapes > 0
    assert row.excess == row.plain_excess > 0


@pytest.mark.parametrize(("escapes", "status"), [(0, 0), (1, 1)])
def test_the_command_fails_when_a_bound_is_broken(
    escapes: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [SoundnessRow(kind, 600, 0, 0.0, 7, 0.1) for kind in soundness.ALL_NETS]
    rows[0] = replace(rows[0], escapes=escapes)
    monkeypatch.setattr(soundness, "attempts", lambda device: iter(rows * 2))  # noqa: ARG005
    page = tmp_path / "soundness.md"
    assert main.main(["bench", "soundness", "--checks", "1000", "--write", str(page)]) == status
    assert f"| all | {600 * len(rows):,} | {escapes} |" in capsys.readouterr().out
    assert "`goodcert bench soundness --device cpu --checks 1000`" in page.read_text(encoding="utf-8")
