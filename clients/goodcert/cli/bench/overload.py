"""`goodcert bench overload`: what is still answered in time when callers ask for more than the engine can do."""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from goodcert.cli.bench import Result

if TYPE_CHECKING:
    from goodcert.cli.bench.serving.load import Request

IMAGES = 16
"""In one request: tensors of float32, which are large and cheap to make."""
TIMEOUT_MS = 1000


class OverloadRow(NamedTuple):
    """Per second. refused: or late."""

    callers: int
    asked: float
    refused: float
    answered: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--callers", nargs="+", type=int, default=[16, 64, 256, 512], metavar="N")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the engine (default: 1)")
    parser.add_argument("--seconds", type=float, default=8, metavar="N", help="of load (default: 8)")


def measure(options: argparse.Namespace) -> Result | str:
    if find_spec("fastapi") is None:
        return "needs the service, which is not installed: pip install 'goodcert[serve]'"
    busy = os.getloadavg()[0]
    rows = _rows(options)
    return Result(table(rows), _page(options, busy, table(rows)))


def _rows(options: argparse.Namespace) -> list[OverloadRow]:
    from goodcert.cli.bench.serving import processes
    from goodcert.cli.bench.serving.ceilings import write_model
    from goodcert.cli.bench.serving.load import load

    with tempfile.TemporaryDirectory() as folder:
        name, _ = write_model("S", Path(folder))
        path, rows = f"/v2/models/{name}/infer", []
        with processes.service(Path(folder), "cpu", options.threads) as server:
            load(server.port, path, [request()], 16, 1)  # to warm up
            for callers in tqdm(options.callers, desc="bench overload", leave=False):
                seen = load(server.port, path, [request()], callers, options.seconds)
                server.rest()
                rates = (n / options.seconds for n in (seen.answers + seen.failures, seen.failures, seen.answers))
                rows.append(OverloadRow(callers, *rates))
    return rows


def request() -> "Request":
    """One request of the Open Inference Protocol in its binary form, with some noise in it."""
    from goodcert.cli.bench.serving.bodies import SIDE
    from goodcert.cli.bench.serving.load import Request

    pixels = np.random.default_rng(0).random((IMAGES, 1, SIDE, SIDE), np.float32)
    tensor = {
        "name": "images", "shape": pixels.shape, "datatype": "FP32",
        "parameters": {"binary_data_size": pixels.nbytes},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "X-Request-Timeout-Ms": str(TIMEOUT_MS)}
    return Request(headers, head + pixels.tobytes())


def table(rows: Sequence[OverloadRow]) -> str:
    """A table in Markdown, a row for each number of callers."""
    lines = [
        "| callers | requests a second | refused or late | answered | certificates a second |",
        "|---:" * 5 + "|",
    ]
    for row in rows:
        figures = (row.asked, row.refused, row.answered, row.answered * IMAGES)
        lines.append(f"| {row.callers} | " + " | ".join(f"{figure:,.0f}" for figure in figures) + " |")
    return "\n".join(lines)


def _page(options: argparse.Namespace, busy: float, table: str) -> str:
    from goodcert.cli.bench.serving.load import generator
    from goodcert.evaluation import speed

    return f"""# What is answered under overload

Measured by `goodcert bench overload --threads {options.threads} --seconds {options.seconds:g}` on \
{speed.hardware("cpu")}, under load by {generator()}; when it began, other programs made a load of {busy:.1f} on \
{os.cpu_count()} processors.

The worst of callers: each sends {IMAGES} images as float32 tensors, wants the answer within {TIMEOUT_MS} ms, and \
when it is refused asks again at once, whatever `Retry-After` says. The queue holds as many images as by default. \
A service that gives in answers fewer and fewer requests the more callers there are; the last column should stay \
where it is.

{table}
"""
