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
    ResultRow,
    introduction,
    markdown,
    merged,
    outs,
    read,
    row,
    write,
)

ROWS = [
    ResultRow(
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
    ResultRow("GOOD_100", "paper", "L", accuracy=98.7, out={"letters": OutRow(auc=99.0)}, source="a paper"),
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
    again, other = ResultRow("Plain", "plain", accuracy=1.0), ResultRow("OE", "oe")
    assert merged(ROWS, [again, other, ROWS[1]]) == [again, other, ROWS[1]]


def test_a_table_has_every_set_of_any_row_and_dashes_where_nothing_is_known() -> None:
    page = markdown("Results", ["A note."], ROWS)
    assert outs(ROWS) == ["noise", "letters"]
    assert "| Plain, S (plain) | 0.3 | 98.00 | 0.9900 | 99.00 / 50.00 / 0.00 | - / - / - |" in page
    assert "| GOOD_100, L (paper) | - | 98.70 | - | - / - / - | 99.00 / - / - |" in page
    assert "a paper" in page
    assert page.count("| GOOD_100, L (paper) |") == 1  # it tells no false positive rates
    assert "\nA note.\n" in page


def test_how_to_read_a_method_is_said_where_it_is_in_the_table() -> None:
    assert introduction(["A note."], ROWS)[1:] == ["A note.", READING["GOOD_"]]
    assert introduction([], [ResultRow("CCU", "ccu")])[1:] == [READING["CCU"]]


def test_a_row_says_what_was_measured_on_which_file(artifacts: list[artifact.Artifact], folder: Path) -> None:
    (measured,) = measure(artifacts[:1], load(artifacts, folder), "0.05")
    made, results = row(measured, "one", "the command"), measured.results()
    assert (made.method, made.name, made.net, made.command) == ("METHOD_0", "one", "S", "the command")
    assert made.model_sha256 == artifacts[0].sha256
    assert made.accuracy == pytest.approx(results.accuracy, abs=1e-4)
    for name, out in made.out.items():
        assert out.gauc == pytest.approx(results.outside[name].guaranteed_auc, abs=1e-4)
        assert (out.aauc, out.attacked) == (None, None)


def test_rows_of_one_command_or_source_stand_together_under_it() -> None:
    twin = ResultRow("OE", "oe", "S", command="goodcert evaluate", model_sha256="cd")
    assert markdown("Results", [], [ROWS[0], ROWS[1], twin]).endswith(
        "`goodcert evaluate`:\n\n- Plain, S (plain), file ab\n- OE, S (oe), file cd\n\n"
        "a paper:\n\n- GOOD_100, L (paper)\n"
    )


def test_published_rows_that_are_told_no_more_go() -> None:
    other = ResultRow("GOOD_0", "paper/good0", source="a paper")
    assert merged(ROWS, [other]) == [ROWS[0], other]


def test_the_papers_rows_are_every_method_but_ccu_with_their_source() -> None:
    rows = {r.method: r for r in paper.ROWS["mnist"]}
    assert list(rows) == ["Plain", "CEDA", "OE", "ACET", *(f"GOOD_{q}" for q in (0, 20, 40, 60, 80, 90, 95, 100))]
    best = rows["GOOD_100"]
    assert (best.accuracy, best.net, best.epsilon) == (98.7, "L", "0.3")
    assert best.out["Fashion-MNIST"] == OutRow(auc=100.0, aauc=96.5, gauc=78.0)
    assert best.out["letters"] == OutRow(auc=99.0, aauc=53.8, gauc=3.3)
    assert best.out["grey CIFAR-10"] == OutRow(auc=100.0, aauc=99.9, gauc=99.4)
    assert best.out["uniform noise"] == OutRow(auc=100.0, aauc=100.0, gauc=100.0)
    assert rows["GOOD_80"].out["notMNIST"] == OutRow(auc=100.0, aauc=99.9, gauc=96.7)
    assert all(r.source is not None and "NeurIPS 2020" in r.source for r in rows.values())


def test_in_the_papers_rows_no_attack_beats_its_guarantee() -> None:
    for published in paper.ROWS["mnist"]:
        for out in published.out.values():
            assert None not in (out.auc, out.aauc, out.gauc)
            assert out.gauc <= out.aauc <= out.auc  # type: ignore[operator]
