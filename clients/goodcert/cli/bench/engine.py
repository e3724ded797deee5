"""`goodcert bench engine`: what the guarantee costs beside the prediction."""

import argparse
from itertools import product

from tqdm import tqdm

from goodcert.cli.bench import Result
from goodcert.evaluation import speed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")
    parser.add_argument("--nets", nargs="+", default=["S", "L"], metavar="NET", help="default: S L")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16, 64], metavar="N")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")


def measure(options: argparse.Namespace) -> Result:
    cases = list(product(options.nets, options.batches, options.threads))
    rows = [speed.measure(*case, options.device) for case in tqdm(cases, desc="bench engine", leave=False)]
    table = speed.table(rows)
    return Result(table, _page(options.device, table))


def _page(device: str, table: str) -> str:
    return f"""# What the guarantee costs

Measured by `goodcert bench engine --device {device}` on {speed.hardware(device)}. Medians of interleaved \
runs; ratios hold, absolute times vary with the machine.

{table}
"""
