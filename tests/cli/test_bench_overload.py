"""`goodcert bench overload`, at its smallest."""

from pathlib import Path

from goodcert.cli import main as cli
from goodcert.cli.bench.overload import OverloadRow, table


def test_a_row_counts_certificates_not_requests() -> None:
    assert table([OverloadRow(256, 1894.0, 1498.0, 396.0)]).endswith("| 256 | 1,894 | 1,498 | 396 | 6,336 |")


def test_few_callers_are_all_answered_and_the_page_says_what_ran(tmp_path: Path) -> None:
    page = tmp_path / "overload.md"
    assert (
        cli.main(
            ["bench", "overload", "--threads", "1", "--callers", "2", "--seconds", "0.5", "--write", str(page)]
        )
        == 0
    )
    (row,) = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("| 2 ")]
    assert row[2] == "0"
    assert int(row[3].replace(",", "")) > 0
    assert "`goodcert bench overload --threads 1 --seconds 0.5`" in page.read_text()
