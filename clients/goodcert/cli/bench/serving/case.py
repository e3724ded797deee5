"""One kind of request to one model: rounds of load, with the ceilings in between."""

import math

from goodcert.artifact import Artifact
from goodcert.cli.bench.serving.bodies import BODIES, images
from goodcert.cli.bench.serving.ceilings import InProcess
from goodcert.cli.bench.serving.load import Load, Request, load
from goodcert.cli.bench.serving.processes import ServerProcess
from goodcert.cli.bench.serving.results import ServingRow, middle

WARM_UP_SECONDS = 1


class Case:
    """Knows the requests and whom to send them."""

    def __init__(
        self,
        net: str,
        kind: str,
        name: str,
        model: Artifact,
        server: ServerProcess,
        noop: ServerProcess,
        device: str,
        threads: int,
        count: int,
    ) -> None:
        self._net, self._kind = net, kind
        self._server, self._noop = server, noop
        body = BODIES[kind]
        self._path = body.path.format(model=name)
        bodies = [body.encode(image) for image in images(count)]
        self._requests = [Request(body.headers(data), data) for data in bodies]
        self._alone = InProcess(model, body, bodies, device, threads)

    def measure(self, connections: int, rounds: int, seconds: float) -> ServingRow:
        """The middle round. Raises RuntimeError when a request fails."""
        self._load(self._server, connections, WARM_UP_SECONDS)
        return middle([self._round(connections, seconds) for _ in range(rounds)])

    def _round(self, connections: int, seconds: float) -> ServingRow:
        decode_engine_ms = self._alone.decode_and_engine_ms(connections, seconds / 3)
        server_ms, seen = self._load(self._server, connections, seconds)
        engine_ms = self._alone.engine_ms(connections, seconds / 3)
        noop_ms, _ = self._load(self._noop, connections, WARM_UP_SECONDS)
        times = (server_ms, noop_ms, engine_ms, decode_engine_ms)
        return ServingRow(self._net, self._kind, connections, *times, seen.p50_ms, seen.p99_ms)

    def _load(self, server: ServerProcess, connections: int, seconds: float) -> tuple[float, Load]:
        """Milliseconds of processor time an answer, and what was seen from outside."""
        images, start = server.images(), server.cpu_seconds()
        seen = load(server.port, self._path, self._requests, connections, seconds)
        if seen.failures or not seen.answers:
            raise RuntimeError(
                f"{self._path}: {seen.failures} of {seen.answers} requests failed, expected none to"
            )
        server.rest()
        used = server.cpu_seconds() - start
        # The load ends in the middle of a batch, whose answers nobody waits for: what was run counts.
        run = server.images() - images
        return used * 1e3 / (seen.answers if math.isnan(run) else run), seen
