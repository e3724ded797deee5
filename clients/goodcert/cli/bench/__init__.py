"""`goodcert bench WHAT`: measurements, made here and now; one module each."""

import argparse
import importlib
from dataclasses import dataclass
from pathlib import Path

WHAT = {
    "engine": "what the guarantee costs: prediction and bound against prediction alone",
    "serve": "what a certificate costs over HTTP, beside what no server can beat",
    "overload": "what is still answered in time when callers ask for more than the engine can do",
    "ledger": "what the ledger costs: the service with and without it, under load",
    "methods": "what ibp, crown and auto decide, and what they cost",
    "transcendental": "kernels of exp, tanh and the like at every input; exit status 1 if one is too coarse",
    "soundness": "attempts to break the bounds; exit status 1 if one breaks",
}


@dataclass(frozen=True)
class Result:
    """table: Markdown. page: the table with what it says and how it was made. failed: whether that is bad news."""

    table: str
    page: str
    failed: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    measurements = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, purpose in WHAT.items():
        subparser = measurements.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
        module = importlib.import_module(f"goodcert.cli.bench.{name}")
        module.add_arguments(subparser)
        subparser.add_argument("--write", type=Path, metavar="FILE", help="write the page to this file too")
        subparser.set_defaults(measure=module.measure)


def run(options: argparse.Namespace) -> int:
    result: Result | str = options.measure(options)
    if isinstance(result, str):
        print(f"goodcert bench {options.what}: {result}")
        return 2
    print(result.table)
    if options.write:
        options.write.write_text(result.page, encoding="utf-8")
        print(f"wrote {options.write}")
    return int(result.failed)
