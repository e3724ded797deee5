"""`goodcert bench soundness`: attempts to break the bounds."""

import argparse

from tqdm import tqdm

from goodcert.cli.bench import Result
from goodcert.engine.device import resolve
from goodcert.evaluation import soundness, speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checks", type=int, default=10**6, metavar="N", help="at least (default: a million)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")


def measure(options: argparse.Namespace) -> Result:
    rows: list[soundness.SoundnessRow] = []
    device = resolve(options.device)
    with tqdm(total=options.checks, desc="bench soundness", unit="check", unit_scale=True, leave=False) as bar:
        for row in soundness.attempts(device=device):
            rows.append(row)
            bar.update(row.checks)
            if sum(r.checks for r in rows) >= options.checks and len(rows) >= len(soundness.ALL_NETS):
                break
    table = soundness.table(soundness.collect(rows))
    page = soundness.page(options.checks, options.device, speed.hardware(options.device), table)
    return Result(table, page, failed=any(row.escapes for row in rows))
