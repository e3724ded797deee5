"""`goodcert bench engine`: what the guarantee costs beside the prediction, measured here and now."""

import argparse
from itertools import product
from pathlib import Path

from tqdm import tqdm

from goodcert.evaluation import speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["engine"], help="engine: prediction and bound against prediction alone")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")
    parser.add_argument("--nets", nargs="+", default=["S", "L"], metavar="NET", help="default: S L")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64], metavar="N")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file too")


def run(options: argparse.Namespace) -> int:
    cases = list(product(options.nets, options.batches, options.threads))
    rows = [speed.measure(*case, options.device) for case in tqdm(cases, desc="bench engine", leave=False)]
    table = speed.table(rows)
    print(table)
    if options.write:
        options.write.write_text(_page(options, table), encoding="utf-8")
        print(f"wrote {options.write}")
    return 0


def _page(options: argparse.Namespace, table: str) -> str:
    command = f"goodcert bench engine --device {options.device}"
    return (
        f"# What the guarantee costs\n\nMeasured by `{command}` on {speed.hardware(options.device)}. Medians of "
        f"interleaved runs; ratios hold, absolute times vary with the machine.\n\n{table}\n"
    )
