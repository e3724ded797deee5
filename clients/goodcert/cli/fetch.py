"""`goodcert fetch NAME --data DIR`: a data set from its official source, as an image pack."""

import argparse
import os
from pathlib import Path

from goodcert.data import sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", choices=sorted(sources.SOURCES), metavar="NAME",
                        help=f"packs to make: {', '.join(sources.SOURCES)}")  # fmt: skip
    parser.add_argument("--data", type=Path, default=os.environ.get("GOODCERT_DATA"), metavar="DIR",
                        help="folder of the image packs (default: GOODCERT_DATA)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    if options.data is None:
        print("goodcert fetch: name the folder of the image packs with --data DIR or GOODCERT_DATA")
        return 2
    for name in options.names:
        try:
            print(f"wrote {sources.fetch(name, options.data)}")
        except (OSError, ValueError) as error:
            print(f"goodcert fetch: {error}")
            return 1
    return 0
