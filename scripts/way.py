"""The way of one plain PNG request through the code: which modules it meets, and how often it goes from one to
another.

From the application's first call to the last byte of its answer, with the default model, in all threads; every
call of a function and every time that a coroutine goes on counts. Of several requests the shortest way is told:
what happens by the clock, such as a look at the processor's time, may come into any of them. `--calls` lists the
calls, a star where the module changes.
"""

import argparse
import asyncio
import sys
import threading
from collections.abc import Sequence
from io import BytesIO
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from goodcert.serve.server.app import create_app
from goodcert.serve.settings.settings import Settings

MODEL = "mnist-good100"
REQUESTS = 20


class Call(NamedTuple):
    """A function that begins, or a coroutine that goes on."""

    module: str
    function: str


class Way(NamedTuple):
    """All calls of a request, in their order."""

    calls: Sequence[Call]

    @property
    def modules(self) -> list[str]:
        return sorted({call.module for call in self.calls})

    @property
    def stays(self) -> list[tuple[str, list[str]]]:
        """The calls by the module that they stay in until the next."""
        grouped = groupby(self.calls, key=lambda call: call.module)
        return [(module, [call.function for call in calls]) for module, calls in grouped]

    @property
    def changes(self) -> int:
        return len(self.stays) - 1


class Tracer:
    """Notes the calls of the package while `calls` is a list."""

    def __init__(self) -> None:
        self.calls: list[Call] | None = None

    def __call__(self, frame: Any, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and self.calls is not None and module.startswith("goodcert."):
            self.calls.append(Call(module, frame.f_code.co_qualname))


def ways() -> list[Way]:
    """Of several requests, after some that fill caches."""
    tracer = Tracer()
    threading.setprofile(tracer)  # for the threads of the engine, which begin later
    try:
        return asyncio.run(_ways(tracer))
    finally:
        threading.setprofile(None)
        sys.setprofile(None)


async def _ways(tracer: Tracer) -> list[Way]:
    app, image = create_app(Settings(threads=1)), png()
    found = []
    async with app.router.lifespan_context(app):
        for number in range(REQUESTS + 5):
            sys.setprofile(tracer)
            tracer.calls = calls = []
            await _ask(app, image)
            tracer.calls = None
            sys.setprofile(None)
            if number >= 5:
                found.append(Way(calls))
    return found


async def _ask(app: Any, image: bytes) -> None:
    headers = [(b"content-type", b"image/png"), (b"content-length", b"%d" % len(image))]
    path = f"/v1/models/{MODEL}/certify"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": image, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise RuntimeError(f"got {sent[0]['status']}, expected 200: {sent[1]['body']!r}")


def png() -> bytes:
    """An image of the model's own size."""
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def shortest() -> Way:
    return min(ways(), key=lambda way: (len(way.modules), way.changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", action="store_true", help="list them, too")
    way = shortest()
    if parser.parse_args().calls:
        for module, functions in way.stays:
            print(f"* {module}: {', '.join(functions)}")
    functions = len(set(way.calls))
    print(f"{len(way.calls)} calls of {functions} functions in {len(way.modules)} modules, {way.changes} changes")


if __name__ == "__main__":
    main()
