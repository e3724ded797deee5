"""Requests at a constant number of connections: by wrk where it is installed, else by a process of our own."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Load:
    """What came of it: answers with status 200 and others; latency in milliseconds."""

    answers: int
    failures: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Request:
    headers: Mapping[str, str]
    body: bytes


def generator() -> str:
    """What makes the load here."""
    return "wrk" if shutil.which("wrk") else "its own load generator"


def load(port: int, path: str, requests: Sequence[Request], connections: int, seconds: float) -> Load:
    """Send the requests over and over, each connection one at a time."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "requests"
        url = f"http://127.0.0.1:{port}{path}"
        if shutil.which("wrk"):
            script.write_text(_lua(requests))
            flags = [
                "-t1",
                f"-c{connections}",
                f"-d{max(1, round(seconds))}",
                "-s",
                str(script),
                "--timeout",
                "30",
            ]
            command = ["wrk", *flags, url]
        else:
            script.write_bytes(b"".join(_wire(path, request) for request in requests))
            sizes = [str(len(_wire(path, request))) for request in requests]
            command = [
                sys.executable,
                "-m",
                __name__,
                str(port),
                str(connections),
                str(seconds),
                str(script),
                *sizes,
            ]
        run = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  ours
    return Load(**json.loads(run.stdout.splitlines()[-1]))


# --- wrk ----------------------------------------------------------------------------------------------

_LUA = """
local made, next = {}, 0
init = function()
  for i, r in ipairs(requests) do made[i] = wrk.format("POST", nil, r.headers, r.body) end
end
request = function()
  next = next % #made + 1
  return made[next]
end
done = function(summary, latency)
  local e = summary.errors
  local failures = e.connect + e.read + e.write + e.status + e.timeout
  local told = '\\n{"answers": %d, "failures": %d, "p50_ms": %.3f, "p99_ms": %.3f}\\n'
  local p50, p99 = latency:percentile(50) / 1000, latency:percentile(99) / 1000
  io.write(told:format(summary.requests - e.status, failures, p50, p99))
end
"""


def _lua(requests: Iterable[Request]) -> str:
    entries = ",\n".join(
        "{headers = {%s}, body = %s}"  # noqa: UP031  braces are Lua's
        % (
            ", ".join(f"[{_quoted(k.encode())}] = {_quoted(v.encode())}" for k, v in r.headers.items()),
            _quoted(r.body),
        )
        for r in requests
    )
    return f"requests = {{\n{entries}\n}}\n{_LUA}"


def _quoted(data: bytes) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in data) + '"'


# --- without wrk --------------------------------------------------------------------------------------


def _wire(path: str, request: Request) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + request.body


async def _drive(port: int, connections: int, seconds: float, requests: Sequence[bytes]) -> Load:
    end, milliseconds, failures = time.perf_counter() + seconds, [], 0

    async def connection(first: int) -> None:
        nonlocal failures
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = first
        while (start := time.perf_counter()) < end:
            writer.write(requests[turn % len(requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
            failures += head.split()[1] != b"200"
            milliseconds.append((time.perf_counter() - start) * 1e3)
            turn += 1
        writer.close()

    await asyncio.gather(*map(connection, range(connections)))
    p50, p99 = np.percentile(milliseconds, [50, 99]).tolist()
    return Load(len(milliseconds) - failures, failures, p50, p99)


def _main(port: str, connections: str, seconds: str, script: str, *sizes: str) -> None:
    data, requests = Path(script).read_bytes(), []
    for size in map(int, sizes):
        requests.append(data[:size])
        data = data[size:]
    print(json.dumps(vars(asyncio.run(_drive(int(port), int(connections), float(seconds), requests)))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
