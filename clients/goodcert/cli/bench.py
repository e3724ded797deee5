"""`goodcert bench engine`: what the guarantee costs; `goodcert bench soundness`: attempts to break it. Both are
measured here and now."""

import argparse
from itertools import product
from pathlib import Path

from tqdm import tqdm

from goodcert.evaluation import soundness, speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=["engine", "soundness"],
        help="engine: prediction and bound against prediction alone; soundness: bounds against exact arithmetic "
        "and twelve orders of summation (exit status 1 if one is broken)",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")
    parser.add_argument("--nets", nargs="+", default=["S", "L"], metavar="NET", help="default: S L")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64], metavar="N")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument(
        "--checks",
        type=int,
        default=1_000_000,
        metavar="N",
        help="soundness: at least so many (default: %(default)s)",
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file too")


def run(options: argparse.Namespace) -> int:
    return _soundness(options) if options.what == "soundness" else _engine(options)


def _engine(options: argparse.Namespace) -> int:
    cases = list(product(options.nets, options.batches, options.threads))
    rows = [speed.measure(*case, options.device) for case in tqdm(cases, desc="bench engine", leave=False)]
    table = speed.table(rows)
    _show(table, _page(options, table), options.write)
    return 0


def _soundness(options: argparse.Namespace) -> int:
    rows: list[soundness.Row] = []
    with tqdm(total=options.checks, desc="bench soundness", unit="check", unit_scale=True, leave=False) as bar:
        for row in soundness.attempts():
            rows.append(row)
            bar.update(row.checks)
            if sum(r.checks for r in rows) >= options.checks and len(rows) >= len(soundness.ALL_NETS):
                break
    table = soundness.table(soundness.collect(rows))
    _show(table, soundness.page(options.checks, speed.hardware("cpu"), table), options.write)
    return int(any(row.escapes for row in rows))


def _show(table: str, page: str, write: Path | None) -> None:
    print(table)
    if write:
        write.write_text(page, encoding="utf-8")
        print(f"wrote {write}")


def _page(options: argparse.Namespace, table: str) -> str:
    command = f"goodcert bench engine --device {options.device}"
    return (
        f"# What the guarantee costs\n\nMeasured by `{command}` on {speed.hardware(options.device)}. Medians of "
        f"interleaved runs; ratios hold, absolute times vary with the machine.\n\n{table}\n"
    )
