"""`goodcert bench serve`: what a certificate costs over HTTP, beside what no server can beat."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from goodcert.cli.bench import Result

if TYPE_CHECKING:
    from goodcert.cli.bench.serving.results import ServingRow

IMAGES = 32
"""How many different ones are sent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nets", nargs="+", default=["S", "L"], metavar="NET", help="default: S L")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64], metavar="N")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where bounds are computed")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of the engine (default: 1)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="the middle one counts (default: 3)")
    parser.add_argument("--seconds", type=float, default=3, metavar="N", help="of load a round (default: 3)")


def measure(options: argparse.Namespace) -> Result | str:
    if find_spec("fastapi") is None:
        return "needs the service, which is not installed: pip install 'goodcert[serve]'"
    if not Path("/proc/self/stat").exists():
        return "reads processor times from /proc, which this system does not have"
    from goodcert.cli.bench.serving.results import plot, table

    busy = os.getloadavg()[0]
    rows = list(_rows(options))
    if options.write:
        plot(rows, options.write.with_suffix(".png"))
    return Result(table(rows), _page(options, busy, table(rows)))


def _rows(options: argparse.Namespace) -> Iterator["ServingRow"]:
    """Every kind of body at every number of connections, to every network."""
    from goodcert.cli.bench.serving import processes
    from goodcert.cli.bench.serving.bodies import BODIES
    from goodcert.cli.bench.serving.case import Case
    from goodcert.cli.bench.serving.ceilings import write_model

    with tempfile.TemporaryDirectory() as folder:
        models = {net: write_model(net, Path(folder)) for net in options.nets}
        with processes.service(Path(folder), options.device, options.threads) as server, processes.noop() as noop:
            kinds = [kind for kind, body in BODIES.items() if server.has(body.probe)]
            cases = list(product(options.nets, kinds))
            for net, kind in tqdm(cases, desc="bench serve", leave=False):
                case = Case(net, kind, *models[net], server, noop, options.device, options.threads, IMAGES)
                for connections in options.connections:
                    yield case.measure(connections, options.rounds, options.seconds)


def _page(options: argparse.Namespace, busy: float, table: str) -> str:
    from goodcert.cli.bench.serving.load import generator
    from goodcert.evaluation import speed

    picture = options.write.with_suffix(".png").name if options.write else "serving.png"
    return f"""# What a certificate costs over HTTP

Measured by `{_command(options)}` on {speed.hardware(options.device)}, under load by {generator()}; when it \
began, other programs made a load of {busy:.1f} on {os.cpu_count()} processors. Milliseconds of processor time a \
certificate, all threads of the server counted; latencies are milliseconds, too. S is version 1 of the default \
model, the others are untrained networks of the architecture named. Bodies are one image of 28 x 28: a PNG file \
to `/v1`, or, to `/v2`, a UINT8 tensor in the binary form of the Open Inference Protocol, which is the default of \
its stock clients, answered with binary tensors.

Three ceilings are measured between the rounds of the server: a no-op application under the same HTTP server; the \
engine in one process, in batches of as many images as there are connections; the same from the bodies of the \
requests. Share: decode + engine over server. Overhead: server less decode + engine. Shares hold where absolute \
times do not, unless other programs keep the processors busy: they empty the caches of a server that waits, and \
not those of a loop that does not.

![processor time]({picture})

{table}
"""


def _command(options: argparse.Namespace) -> str:
    flags = f"--device {options.device} --rounds {options.rounds} --seconds {options.seconds:g}"
    return f"goodcert bench serve {flags} --threads {options.threads}"
