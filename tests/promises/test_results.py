"""What the README says of the published table is what the table shows."""

from pathlib import Path

import pytest

from goodcert.evaluation import results

TABLE = Path(__file__).parents[2] / "docs" / "results" / "mnist.json"
ROWS = {row.name.removeprefix("mnist/"): row for row in results.read(TABLE)}
QUANTILES = (0, 20, 40, 60, 80, 90, 95, 100)


@pytest.mark.parametrize("name", ["plain", "ceda", "oe", "acet", "good0"])
def test_without_bounds_in_training_nothing_is_guaranteed(name: str) -> None:
    assert {out.gauc for out in ROWS[name].out.values()} == {0.0}


@pytest.mark.parametrize("out", results.outs([ROWS["plain"]]))
def test_the_guaranteed_auc_rises_with_q(out: str) -> None:
    guaranteed = [ROWS[f"good{quantile}"].out[out].gauc or 0.0 for quantile in QUANTILES]
    assert guaranteed == sorted(guaranteed)


def test_the_accuracy_is_within_a_point_of_plain() -> None:
    plain = ROWS["plain"].accuracy
    measured = {name: row.accuracy for name, row in ROWS.items() if row.source is None}
    assert {name: got for name, got in measured.items() if not plain or not got or got < plain - 1} == {}
