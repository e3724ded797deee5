"""Findings survive an end in between, and the page says what was tried."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from goodcert.evaluation import findings
from goodcert.evaluation.accuracy import Tally
from goodcert.evaluation.findings import Finding, State
from goodcert.evaluation.functions import FUNCTIONS
from goodcert.evaluation.kernels import kernels
from goodcert.evaluation.sweep import Places, Sweep, sweep

TANH = FUNCTIONS["Tanh"]
STRIDE = 2**15 - 1
GOOD = Finding("Tanh", "PyTorch", 1, Tally(2**32, 0.25, 0.5, 2.5, 1e-8, 7), Places(4000, 3, 0.25), 1e-9)


def test_a_sweep_that_was_left_goes_on_from_the_file(tmp_path: Path) -> None:
    path, ran = tmp_path / "state.json", kernels(TANH)
    *_, at_once = sweep(TANH, ran, STRIDE, Sweep.start(2))
    *_, begun = islice(sweep(TANH, ran, STRIDE, Sweep.start(2)), 1)
    State("here").begun("Tanh", STRIDE, begun).write(path)
    left = findings.read(path, "here").sweeps["Tanh", STRIDE]
    assert left.done == begun.done < at_once.done
    *_, resumed = sweep(TANH, ran, STRIDE, left)
    assert (resumed.done, resumed.tallies) == (at_once.done, at_once.tallies)
    for ours, theirs in zip(resumed.worst, at_once.worst, strict=True):
        assert sorted(ours.share) == sorted(theirs.share)


def test_findings_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    state = State("here").concluded("Tanh", 1, [GOOD])
    state.write(path)
    assert findings.read(path, "here") == state
    assert not list(tmp_path.glob("*.new"))


def test_a_state_of_another_machine_is_refused(tmp_path: Path) -> None:
    State("there").write(tmp_path / "state.json")
    with pytest.raises(ValueError, match="of there, and this is here"):
        findings.read(tmp_path / "state.json", "here")


def test_more_inputs_take_the_place_of_fewer() -> None:
    state = State("here").concluded("Tanh", 99, [replace(GOOD, stride=99)])
    assert state.knows("Tanh", 99)
    assert not state.knows("Tanh", 1)
    state = state.begun("Tanh", 1, Sweep.start(2)).concluded("Tanh", 1, [GOOD])
    assert state.findings == (GOOD,)
    assert not state.sweeps
    assert state.knows("Tanh", 99)


@pytest.mark.parametrize(
    ("finding", "holds"),
    [
        (GOOD, True),
        (replace(GOOD, tally=replace(GOOD.tally, share=1.01)), False),
        (replace(GOOD, places=Places(4000, 3, 1.01)), False),
    ],
)
def test_a_kernel_holds_within_its_allowance_in_every_place(finding: Finding, holds: bool) -> None:
    assert finding.holds == holds


def test_the_page_says_what_was_tried_in_full_and_what_in_part() -> None:
    exp = replace(GOOD, function="Exp", stride=99, tally=Tally(43_383_508, 0.25))
    page = findings.page(State("here").concluded("Tanh", 1, [GOOD]).concluded("Exp", 99, [exp]))
    assert "on here,\n" in page
    assert "\n- all: Tanh.\n- every 99th: Exp.\n" in page
    assert "| Exp | PyTorch | 43,383,508 |" in page
    assert "| Tanh | PyTorch | all | 2.5 | 15 u | 0.021 | 1 | 25.0% | 0.5 | 7 |  | 3 | yes |" in page
