"""`goodcert bench soundness`: attempts to break the bounds."""

import argparse

from tqdm import tqdm

from goodcert.cli.bench import Result
from goodcert.evaluation import soundness, speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checks", type=int, default=10**6, metavar="N", help="at least (default: a million)")


def measure(options: argparse.Namespace) -> Result:
    rows: list[soundness.Row] = []
    with tqdm(total=options.checks, desc="bench soundness", unit="check", unit_scale=True, leave=False) as bar:
        for row in soundness.attempts():
            rows.append(row)
            bar.update(row.checks)
            if sum(r.checks for r in rows) >= options.checks and len(rows) >= len(soundness.ALL_NETS):
                break
    table = soundness.table(soundness.collect(rows))
    page = soundness.page(options.checks, speed.hardware("cpu"), table)
    return Result(table, page, failed=any(row.escapes for row in rows))
