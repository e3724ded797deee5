"""How a process ends: in time, and with an answer for whoever is cut off. Signals are left to tests/promises."""

import asyncio
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import service_pb2

from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.server import listening
from goodcert.serve.server.app import create_app
from goodcert.serve.server.process import Server, config
from goodcert.serve.settings.settings import Settings

CERTIFY, INFER = "/v1/models/tiny/certify", "/v2/models/tiny/infer"
CALL = "/inference.GRPCInferenceService/ModelInfer"
SHORT = {"drain_ms": 0, "grace_ms": 300, "request_timeout_ms": 600_000, "body_timeout_ms": 600_000}


class Ending:
    """A service in this event loop whose engine answers nobody before the end."""

    def __init__(self, server, app, engine, lifecycle, registry):
        self.app, self.engine, self.lifecycle = app, engine, lifecycle
        self.port = server.servers[0].sockets[0].getsockname()[1]
        self._server, self._registry = server, registry
        engine.gate.clear()

    def end(self):
        self._server.should_exit = True

    async def taken(self):
        """Until a request is under way."""
        while not self.lifecycle.in_flight:
            await asyncio.sleep(0)

    def channel(self):
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.app.state.grpc_port}")

    def counted(self):
        """The statuses of requests for certificates."""
        samples = [sample for metric in self._registry.collect() for sample in metric.samples]
        return {s.labels["code"]: s.value for s in samples if s.name == "goodcert_requests_total"}


@pytest.fixture
def ending(tmp_path, write_model, fake_compile):
    """Starts it, and waits for its end, which must come."""
    write_model(tmp_path / "models")

    @asynccontextmanager
    async def start(**settings):
        settings = Settings(models=tmp_path / "models", port=0, **SHORT, **settings)
        registry, lifecycle = CollectorRegistry(), Lifecycle()
        app = create_app(settings, compile=fake_compile, registry=registry, lifecycle=lifecycle)
        server = Server(
            config(settings, app, **listening.options(settings, app.state.answers)), lifecycle, settings
        )
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        service = Ending(server, app, fake_compile.engines[0], lifecycle, registry)
        try:
            yield service
        finally:
            service.end()
            service.engine.gate.set()
            await asyncio.wait_for(serving, 30)

    return start


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


class TestAfterTheGrace:
    @pytest.mark.parametrize("images", [None, 3])
    def test_a_request_that_is_broken_off_is_told_why(self, ending, png, images):
        form = {"files": [("images", (str(number), png, "image/png")) for number in range(images or 0)]}
        asked = form if images else {"content": png, "headers": {"Content-Type": "image/png"}}

        async def test():
            async with ending() as service, httpx.AsyncClient(timeout=30) as client:
                asking = asyncio.create_task(client.post(f"http://127.0.0.1:{service.port}{CERTIFY}", **asked))
                await service.taken()
                service.end()
                answer = await asking
            assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert (answer.headers["Retry-After"], answer.headers["Connection"]) == ("5", "close")
            assert service.counted() == {"503": 1}

        run(test)

    @pytest.mark.parametrize("path", [CERTIFY, INFER])
    def test_so_is_one_whose_body_has_not_come(self, ending, path):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"

        async def test():
            async with ending() as service:
                reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
                writer.write(head.encode())
                await service.taken()
                service.end()
                answer = await reader.read()
                writer.close()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"The service finishes what it has" in answer
            assert service.counted() == {"503": 1}

        run(test)

    def test_a_grpc_call_is_broken_off_too(self, ending, png):
        request = service_pb2.ModelInferRequest(model_name="tiny")
        given = request.inputs.add(name="images", datatype="BYTES", shape=[1])
        given.contents.bytes_contents.append(png)

        async def test():
            async with ending(grpc_port=0) as service, service.channel() as channel:
                call = channel.unary_unary(CALL)(request.SerializeToString())
                await service.taken()
                service.end()
                assert await call.code() is grpc.StatusCode.UNAVAILABLE
            assert service.counted() == {"503": 1}

        run(test)

    def test_so_is_one_whose_message_has_not_come(self, ending):
        async def test():
            async with ending(grpc_port=0) as service, service.channel() as channel:
                call = channel.stream_unary(CALL)()
                await call.wait_for_connection()
                service.end()
                assert await call.code() is grpc.StatusCode.UNAVAILABLE

        run(test)
