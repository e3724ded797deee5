"""Measure where the seconds of a start go, and write docs/startup.md: from `goodcert serve` to the first 200 of
`/health/ready`, with the default model."""

import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

PAGE = Path(__file__).parent.parent / "docs" / "startup.md"
RUNS = 3
STEPS = {
    "numpy": "import numpy",
    "PyTorch": "import torch",
    "onnx and ONNX Runtime": "import onnx, onnxruntime",
    "FastAPI, uvicorn, pydantic": "import fastapi, uvicorn, pydantic_settings",
    "goodcert": "import goodcert.serve.server.process, goodcert.serve.server.app, goodcert.engine",
    "the models: read": "from goodcert import engine, zoo; from goodcert.artifact import read; "
    "one, two = (read(zoo.folder() / 'mnist-good100' / version / 'model.onnx') for version in '12')",
    "version 1: graphs of prediction and bound, kernel check, self-check": "engine.compile(one.model)",
    "version 2: the same": "engine.compile(two.model)",
}
MEASURE = """
import json, sys, time
last, took = time.process_time(), {}
for name, step in json.loads(sys.argv[1]).items():
    exec(step)
    now = time.process_time()
    took[name], last = now - last, now
print(json.dumps(took))
"""


def steps() -> dict[str, float]:
    """Processor seconds of every step, in a process of its own; the median of some runs."""
    command = [sys.executable, "-c", MEASURE, json.dumps(STEPS)]
    runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(RUNS)]
    return {name: statistics.median(run[name] for run in runs) for name in STEPS}


def start() -> tuple[float, float]:
    """(wall, processor) seconds until the service is ready."""
    began, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "goodcert.cli.main", "serve", "--port", "0", "--drain-ms", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as service:
        log = service.stderr or ()
        port = next(found[1] for line in log if (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
        connection = HTTPConnection("127.0.0.1", int(port))
        connection.request("GET", "/health/ready")
        connection.getresponse().read()
        wall = perf_counter() - began
        service.terminate()
        service.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def replacement() -> tuple[float, float]:
    """(wall, processor) seconds from the kill -9 of one of two idle workers until its successor takes requests."""
    import serving

    def ready() -> list[int]:
        return [line["pid"] for line in served.lines if serving.is_ready(line)]

    with serving.serving("--workers", "2", "--threads", "1") as served:
        served.line(lambda _: len(ready()) == 2)
        killed, began = ready(), perf_counter()
        os.kill(killed[0], signal.SIGKILL)
        successor = served.line(lambda line: serving.is_ready(line) and line["pid"] not in killed)["pid"]
        wall = perf_counter() - began
        return wall, serving.processor_seconds(successor)


def page() -> str:
    rows = "\n".join(f"| {name} | {seconds:.2f} |" for name, seconds in steps().items())
    starts = [start() for _ in range(RUNS)]
    wall = min(wall for wall, _ in starts)
    processor = statistics.median(processor for _, processor in starts)
    replacements = [replacement() for _ in range(RUNS)]
    replaced, paid = min(wall for wall, _ in replacements), statistics.median(paid for _, paid in replacements)
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"""<!-- Measured and written by scripts/startup.py. -->
# Start

`goodcert serve` with the default model answers `/health/ready` with 200 after {wall:.1f} s, the best of
{RUNS} starts on {cores} cores at a load average of {load:.1f}; at its end it has used {processor:.1f} s of
processor time. It waits for little else: on a machine that does nothing beside, the two figures are close.
Processor seconds by step, medians:

| Step | Seconds |
|---|---|
{rows}

Several workers share the imports: they are forked from a process that has done them, and one that replaces
another pays for its models only: {paid:.1f} s of processor time. After kill -9 of one of two idle workers its
successor takes requests after {replaced:.1f} s, the best of {RUNS}.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
