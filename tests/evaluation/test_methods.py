"""What the bound methods decide, measured."""

import numpy as np

from goodcert.evaluation.methods import MethodRow, Subject, measure, table
from graphs import classifier


def test_crown_certifies_more_than_ibp_and_auto_exactly_what_crown_does() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 1, 8, 8), dtype=np.uint8)
    (row,) = measure(Subject("none", classifier(seed=6), 0.6, (0.02,)), images, "cpu")
    ibp, crown, auto = row.certified
    assert 0 < row.rejected <= 12
    assert ibp < crown == auto
    assert all(time > 0 for time in row.milliseconds)


def test_the_table_has_a_line_for_each_row() -> None:
    heading, _, line = table([MethodRow("GOOD_100", 0.3, 7, (0.0, 50.0, 50.0), (0.5, 250.0, 99.0))]).split("\n")
    assert heading.count("|") == line.count("|")
    assert line == "| GOOD_100 | 0.3 | 7 | 0.0 % | 50.0 % | 50.0 % | 0.5 | 250.0 | 99.0 |"
