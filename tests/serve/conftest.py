"""Fakes and helpers for the tests of the service: a numpy engine, small model files, a real server."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np
import onnx
import pytest
import uvicorn
from fastapi import FastAPI
from onnx import helper
from prometheus_client import CollectorRegistry

from goodcert.artifact import write
from goodcert.engine.certificates import Certificates
from goodcert.serve.batching.batcher import Batcher
from goodcert.serve.batching.lanes import QueueLimits
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.repository.files import find
from goodcert.serve.repository.loader import Loader
from goodcert.serve.server import listening
from goodcert.serve.server.app import create_app
from goodcert.serve.settings.settings import Settings

HEIGHT, WIDTH, CLASSES = 4, 6, 3


@dataclass
class FakeEngine:
    """A linear classifier in float64 whose bounds are exact up to a stated slack.

    gate: the engine waits for it. entered: set whenever a batch has begun. batches: sizes of all runs; points:
    what was in them.
    break_guarantee: answer with a bound below the confidence. sabotage: changes every answer. fail: raise.
    slack: how much looser the margins of ibp are than those of crown. crown_gate, crown_entered: the same for
    crown. crown_batches: how many images each of its runs had.
    """

    classes: int
    input_shape: tuple[int, int, int]
    device: str = "cpu"
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    break_guarantee: bool = False
    sabotage: Callable[[Certificates], Certificates] | None = None
    fail: bool = False
    methods: tuple[str, ...] = ("ibp", "crown")
    heads: frozenset[str] = frozenset()
    slack: float = 0.0
    crown_gate: threading.Event = field(default_factory=threading.Event)
    crown_entered: threading.Event = field(default_factory=threading.Event)
    crown_batches: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.gate.set()
        self.crown_gate.set()
        size = int(np.prod(self.input_shape))
        self._weights = np.random.default_rng(7).normal(size=(self.classes, size))

    def certify_balls(self, ball, method="ibp"):
        if method == "crown":
            self.crown_batches.append(len(ball.point))
            self.crown_entered.set()
            assert self.crown_gate.wait(30), "the test never opened the gate of crown"
        else:
            self.batches.append(len(ball.point))
            self.points.append(ball.point)
            self.entered.set()
            assert self.gate.wait(30), "the test never opened the gate"
        if self.fail:
            raise RuntimeError("secret text of the engine")
        arrays = (array.reshape(len(array), -1).astype(np.float64) for array in ball)
        certificates = self._certificates(*arrays, method)
        return self.sabotage(certificates) if self.sabotage else certificates

    def propagate(self, ball):
        return self.certify_balls(ball)

    def conclude(self, evaluations):
        return evaluations

    def _certificates(self, point, lower, upper, method):
        logits = self._affine(point, self._weights)
        looser = self.slack * (1 - np.eye(self.classes)) if method == "ibp" else 0
        margins = self._margins((lower + upper) / 2, (upper - lower) / 2) + looser
        confidence = np.exp(-_logsumexp(logits - logits.max(1, keepdims=True)))
        upper_bound = np.minimum(np.exp(-_logsumexp(-margins)).max(1) * (1 + 1e-9), 1)
        lower_bound = np.exp(-_logsumexp(margins.transpose(0, 2, 1))).max(1) * (1 - 1e-9)
        lower_bound = np.maximum(lower_bound, 1 / self.classes)
        if self.break_guarantee:
            upper_bound = confidence / 2
        methods = np.full(len(logits), method)
        return Certificates(logits.argmax(1), confidence, lower_bound, upper_bound, margins, methods)

    def _margins(self, centre, radius):
        differences = self._weights[:, None] - self._weights[None]
        return self._affine(centre, differences) + self._affine(radius, abs(differences)) + 1e-12

    @staticmethod
    def _affine(rows, weights):
        """Row by row, so that no row depends on its neighbours."""
        return np.stack([(weights * row).sum(-1) for row in rows])


def _logsumexp(values):
    top = values.max(-1, keepdims=True)
    return (top + np.log(np.exp(values - top).sum(-1, keepdims=True)))[..., 0]


def linear_graph(channels=1, height=HEIGHT, width=WIDTH, classes=CLASSES, name="linear"):
    size = channels * height * width
    weights = np.zeros((size, classes), dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["images"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])],
        name,
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["N", channels, height, width])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", classes])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def write_model(make_metadata):
    """Writes <root>/<name>/<version>/model.onnx; keywords change the metadata, `graph` the graph."""

    def write_it(root, name="tiny", version="1", graph=None, **changes):
        metadata = make_metadata(**changes)
        channels, height, width = metadata.input_shape
        path = root / name / version / "model.onnx"
        write(graph or linear_graph(channels, height, width, len(metadata.labels)), metadata, path)
        return path

    return write_it


@pytest.fixture
def make_graph():
    return linear_graph


@pytest.fixture
def make_engine():
    def make(shape=(1, HEIGHT, WIDTH), classes=CLASSES):
        return FakeEngine(classes, shape)

    return make


class FakeCompile:
    """Makes fake engines by the shapes in the graph, refuses a graph named `refuse`, keeps what it made, and calls
    `on_compile` whenever it was asked."""

    def __init__(self):
        self.engines = []
        self.on_compile = lambda: None
        self.methods = ("ibp", "crown")

    def __call__(self, model, **_):
        if model.graph.name == "refuse":
            raise ValueError("node 'n1' (Loop): this operator cannot be bounded")
        if model.graph.name == "crash":
            raise RuntimeError("secret text of the compiler")
        dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
        classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        self.engines.append(FakeEngine(classes, tuple(dims), methods=self.methods))
        self.on_compile()
        return self.engines[-1]


@pytest.fixture
def fake_compile():
    return FakeCompile()


@pytest.fixture
def load_one(fake_compile):
    """The reason why the only model of a folder is refused."""

    def load_it(root):
        batchers = [lambda work, *_: Batcher(work, QueueLimits())] * 2
        (refused,) = Loader(fake_compile, "cpu", None, *batchers).load(find(root))
        return refused.reason

    return load_it


class _AnnouncingServer(uvicorn.Server):
    """A uvicorn server that says when it listens."""

    def __init__(self, config):
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets=None):
        try:
            await super().startup(sockets)
        finally:
            self.listening.set()


@contextmanager
def _running(app, settings):
    options = {"log_level": "error", "access_log": False} | listening.options(settings, app.state.answers)
    server = _AnnouncingServer(uvicorn.Config(app, "127.0.0.1", 0, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.listening.wait(30)
        assert server.started, "the application did not start"
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


@dataclass
class Running:
    """A service in a thread, with its client, its engines and its metrics."""

    client: httpx.Client
    port: int
    engines: list[FakeEngine]
    registry: CollectorRegistry
    lifecycle: Lifecycle
    app: FastAPI

    def certify(self, body, path="/v1/models/tiny/certify", content_type="image/png", **options):
        headers = {"Content-Type": content_type} | options.pop("headers", {})
        return self.client.post(path, content=body, headers=headers, **options)

    def certify_form(self, parts, path="/v1/models/tiny/certify", name="images", **options):
        files = [(name, (str(i), part, "image/png")) for i, part in enumerate(parts)]
        return self.client.post(path, files=files, **options)

    def metric(self, name, **labels):
        self.client.get("/metrics")  # gauges are read off when they are asked for
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def free_port():
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start(tmp_path, write_model, fake_compile):
    """Starts the service with one tiny model unless the folder has models; other keywords are settings."""

    @contextmanager
    def start_it(models=None, verify=True, traces=None, **settings):
        root = models or tmp_path / "models"
        if not root.exists():
            write_model(root)
        registry = CollectorRegistry()
        lifecycle = Lifecycle()
        settings = Settings(models=root, **settings)
        app = create_app(settings, compile=fake_compile, registry=registry, lifecycle=lifecycle, traces=traces)
        scheme = "https" if settings.tls_certificate else "http"
        with (
            _running(app, settings) as port,
            httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", timeout=30, verify=verify) as client,
        ):
            yield Running(client, port, fake_compile.engines, registry, lifecycle, app)

    return start_it


@pytest.fixture
def service(start):
    with start() as running:
        yield running


@pytest.fixture
def application(tmp_path, write_model, fake_compile):
    """A running application in this event loop, with a client and its one engine."""
    write_model(tmp_path / "models")

    @asynccontextmanager
    async def run(**settings):
        app = create_app(Settings(models=tmp_path / "models", **settings), compile=fake_compile)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            yield client, app.state.service.repository.get("tiny")

    return run


@pytest.fixture
def queued():
    """Waits until so many images wait; every turn of the loop brings them closer."""

    async def wait(model, count):
        while len(model.batcher) < count:
            await asyncio.sleep(0)

    return wait
