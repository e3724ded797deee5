"""`goodcert bench ledger`: the CPU of a service under load, with and without its ledger."""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, FileIO
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import httpx
import numpy as np
from PIL import Image

from goodcert.cli.bench import Result
from goodcert.evaluation import speed

PATH = "/v1/models/mnist-good100/versions/1/certify"


class Sample(NamedTuple):
    """Of one run: milliseconds of the server's CPU an image, and images a second."""

    cpu_ms: float
    rate: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--connections", type=int, nargs="+", default=[64, 256], metavar="N", help="callers (default: 64 256)"
    )
    parser.add_argument("--images", type=int, default=4000, metavar="N", help="a run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="runs of each (default: %(default)s)")
    parser.add_argument("--url", help="another ledger than an SQLite file in a temporary folder")


def measure(options: argparse.Namespace) -> Result:
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'ledger.db'}"
        confirmed = _confirmed_after(Path(folder) / "file")
        with _service() as plain, _service("--ledger-url", url) as recording:
            rounds = {count: _rounds((plain, recording), count, options) for count in options.connections}
    head = ["| callers | | CPU of the server, ms an image | images a second |", "|---|---|---|---|"]
    table = "\n".join(head + [row for count, some in rounds.items() for row in _rows(count, some)])
    page = f"""# What the ledger costs

Measured by `goodcert bench ledger --connections {" ".join(map(str, options.connections))} --rounds \
{options.rounds} --images {options.images}` on {speed.hardware("cpu")}; when it began, other programs made a \
load of {busy:.1f} on {os.cpu_count()} processors. Runs with and without the ledger take turns; medians, the cost \
that of neighbours. Every certificate is on the disk before its answer is sent; the disk here confirms a \
write after {1000 * confirmed:.1f} ms. The more callers there are, the more of them share a transaction, and the \
less it matters that each waits for the disk.

{table}
"""
    return Result(table, page)


def _rounds(
    addresses: tuple[str, str], connections: int, options: argparse.Namespace
) -> list[tuple[Sample, Sample]]:
    plain, recording = addresses
    for address in addresses:
        _run(address, connections, options.images)  # the first one warms up
    return [
        (_run(plain, connections, options.images), _run(recording, connections, options.images))
        for _ in range(options.rounds)
    ]


def _confirmed_after(path: Path) -> float:
    """Seconds from a write of 4 KiB to its being on the disk, the median of some."""
    with path.open("wb", buffering=0) as file:
        return median(_seconds_to_write(file) for _ in range(50))


def _seconds_to_write(file: FileIO) -> float:
    began = perf_counter()
    file.write(bytes(4096))
    os.fsync(file.fileno())
    return perf_counter() - began


@contextmanager
def _service(*flags: str) -> Iterator[str]:
    """The address of a service started for this."""
    always = ["--port", "0", "--threads", "1", "--drain-ms", "0"]
    command = [sys.executable, "-m", "goodcert.cli.main", "serve", *always, *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:  # noqa: S603  our own
        try:
            if service.stderr is None:
                raise RuntimeError("the service has no output")
            lines = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in service.stderr)
            yield next(found[0] for found in lines if found)
        finally:
            service.terminate()


def _run(address: str, connections: int, images: int) -> Sample:
    before = _seconds(address)
    took = asyncio.run(_load(httpx.URL(address).port or 0, connections, images))
    return Sample(1000 * (_seconds(address) - before) / images, images / took)


def _seconds(address: str) -> float:
    text = httpx.get(f"{address}/metrics").text
    return float(text.split("\nprocess_cpu_seconds_total ")[1].split()[0])


async def _load(port: int, connections: int, images: int) -> float:
    """Seconds for so many images over so many connections."""
    request = _request()
    left = iter(range(images))

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the service answered {head[:80]!r}")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
        writer.close()
        await writer.wait_closed()

    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(caller() for _ in range(connections)))
    return loop.time() - started


def _request() -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(buffer, "PNG")
    body = buffer.getvalue()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _middle(samples: Iterable[Sample]) -> Sample:
    return Sample(*(median(values) for values in zip(*samples, strict=True)))


def _rows(connections: int, rounds: Sequence[tuple[Sample, Sample]]) -> list[str]:
    """rounds: each a run without the ledger, and the one with it that followed."""
    rows = [
        f"| {connections} | {name} | {sample.cpu_ms:.3f} | {sample.rate:.0f} |"
        for name, sample in zip(
            ("without", "with the ledger"), map(_middle, zip(*rounds, strict=True)), strict=True
        )
    ]
    cost = _middle(Sample(after.cpu_ms / before.cpu_ms, after.rate / before.rate) for before, after in rounds)
    return [*rows, f"| {connections} | cost | {cost.cpu_ms - 1:+.1%} | {cost.rate - 1:+.1%} |"]
