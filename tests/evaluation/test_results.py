"""Rows of results: from models, to JSON and back, as Markdown."""

import json
from pathlib import Path

import pytest

from goodcert import artifact
from goodcert.evaluation import paper
from goodcert.evaluation.evaluate import load, measure
from goodcert.evaluation.results import (
    READING,
    OutRow,
    Row,
    introduction,
    markdown,
    merged,
    outs,
    read,
    row,
    write,
)

ROWS = [
    Row(
        "Plain",
        "plain",
        "S",
        "0.3",
        98.0,
        0.99,
        {"noise": OutRow(10, 5, 99.0, 50.0, 0.0)},
        "goodcert evaluate",
        "ab",
    ),
    Row("GOOD_100", "paper", "L", accuracy=98.7, out={"letters": OutRow(auc=99.0)}, source="a paper"),
]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    write(ROWS, tmp_path / "docs/mnist.json")
    assert read(tmp_path / "docs/mnist.json") == ROWS


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path / "none.json") == []


def test_the_json_has_the_documented_names(tmp_path: Path) -> None:
    write(ROWS, tmp_path / "mnist.json")
    first = json.loads((tmp_path / "mnist.json").read_text())[0]
    assert {"method", "accuracy", "mean_confidence", "out", "command", "model_sha256"} <= first.keys()
    assert {"auc", "aauc", "gauc", "mean_confidence"} <= first["out"]["noise"].keys()


def test_a_row_with_other_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist.json").write_text('[{"method": "Plain", "acc": 1}]')
    with pytest.raises(ValueError, match="evaluate the models again"):
        read(tmp_path / "mnist.json")


def test_a_new_row_takes_the_place_of_the_old_one_of_its_name_and_published_ones_stay_last() -> None:
    again, other = Row("Plain", "plain", accuracy=1.0), Row("OE", "oe")
    assert merged(ROWS, [again, other]) == [again, other, ROWS[1]]


def test_a_table_has_every_set_of_any_row_and_dashes_where_nothing_is_known() -> None:
    page = markdown("Results", ["A note."], ROWS)
    assert outs(ROWS) == ["noise", "letters"]
    assert "| Plain, S (plain) | 0.3 | 98.00 | 0.9900 | 99.00 / 50.00 / 0.00 | - / - / - |" in page
    assert "| GOOD_100, L (paper) | - | 98.70 | - | - / - / - | 99.00 / - / - |" in page
    assert "a paper" in page
    assert "\nA note.\n" in page


def test_how_to_read_a_method_is_said_where_it_is_in_the_table() -> None:
    assert introduction(["A note."], ROWS)[1:] == ["A note.", READING["GOOD_"]]
    assert introduction([], [Row("CCU", "ccu")])[1:] == [READING["CCU"]]


def test_a_row_says_what_was_measured_on_which_file(artifacts: list[artifact.Artifact], folder: Path) -> None:
    (measured,) = measure(artifacts[:1], load(artifacts, folder), "0.05")
    made, results = row(measured, "one", "the command"), measured.results()
    assert (made.method, made.name, made.net, made.command) == ("METHOD_0", "one", "S", "the command")
    assert made.model_sha256 == artifacts[0].sha256
    assert made.accuracy == pytest.approx(results.accuracy, abs=1e-4)
    for name, out in made.out.items():
        assert out.gauc == pytest.approx(results.outside[name].guaranteed_auc, abs=1e-4)
        assert (out.aauc, out.attacked) == (None, None)


def test_the_papers_row_says_where_it_is_from_and_leaves_out_what_is_not_certain() -> None:
    (published,) = paper.ROWS["mnist"]
    assert (published.accuracy, published.epsilon) == (98.7, "0.3")
    assert published.out["Fashion-MNIST"] == OutRow(gauc=78.0)
    assert published.source is not None
    assert "NeurIPS 2020" in published.source
    assert "rows are left out" in published.source
    assert published.command is None
