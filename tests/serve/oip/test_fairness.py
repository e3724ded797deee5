"""A request of a thousand images holds up nobody: not while it is read, and not while it is answered."""

import asyncio
import gzip
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest

from goodcert.serve.oip import bodies, rest

SHAPE = (1, 4, 6)
INFER, CERTIFY = "/v2/models/tiny/infer", "/v1/models/tiny/certify"
MANY = np.full((1000, *SHAPE), 100, np.uint8)
FLOATS = np.zeros((1000, *SHAPE), np.float32)
GZIP = {"Content-Encoding": "gzip"}


def in_json(images):
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "data": images.tolist()}
    return orjson.dumps({"inputs": [tensor]}), {}


def in_binary(images):
    size = {"binary_data_size": images.nbytes}
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape), "parameters": size}
    head = orjson.dumps({"inputs": [tensor]})
    return head + images.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def is_on_a_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Watched:
    """A function that notes whether it runs on an event loop; elsewhere it waits for its gate."""

    def __init__(self, function):
        self._function = function
        self.on_a_loop = []
        self.entered, self.gate = threading.Event(), threading.Event()

    def __call__(self, *given):
        self.on_a_loop.append(is_on_a_loop())
        if not self.on_a_loop[-1]:
            self.entered.set()
            assert self.gate.wait(30), "the test never opened the gate"
        return self._function(*given)


@pytest.fixture
def watch(monkeypatch):
    """Watches the function of this name in a module."""

    def watch_it(module, name):
        watched = Watched(getattr(module, name))
        monkeypatch.setattr(module, name, watched)
        return watched

    return watch_it


@pytest.mark.parametrize("encode", [in_json, in_binary])
def test_a_request_of_a_thousand_images_holds_up_others_by_one_batch_at_most(application, queued, encode):
    """Four quarters of a batch: the one that runs, and those that stand before the monitor's."""
    most, (body, headers) = 16, encode(MANY)

    async def play():
        async with application(max_batch=most) as (client, model):
            engine = model.engine
            engine.gate.clear()
            bulk = asyncio.create_task(client.post(INFER, content=body, headers=headers, timeout=60))
            assert await asyncio.to_thread(engine.entered.wait, 30)
            waiting = len(model.batcher)
            bright, told = in_json(np.full((1, *SHAPE), 255, np.uint8))
            monitor = asyncio.create_task(client.post(INFER, content=bright, headers=told))
            await queued(model, waiting + 1)
            engine.gate.set()
            assert (await monitor).status_code == 200
            assert not bulk.done()
            assert {len(output["data"]) for output in (await bulk).json()["outputs"]} == {1000}
            return [int((point == 1).all(axis=(1, 2, 3)).sum()) for point in engine.points], engine.batches

    bright, sizes = asyncio.run(asyncio.wait_for(play(), 60))
    assert sum(sizes[: bright.index(1)]) <= most
    assert max(sizes) <= most // 4 + 1


def test_the_loop_answers_others_while_a_large_request_is_read(application, watch, png):
    parse = watch(rest, "parse")
    body, headers = in_json(MANY)

    async def play():
        async with application() as (client, _):
            bulk = asyncio.create_task(client.post(INFER, content=body, headers=headers, timeout=60))
            assert await asyncio.to_thread(parse.entered.wait, 30)
            assert (await client.get("/health/live")).status_code == 200
            assert (
                await client.post(CERTIFY, content=png, headers={"Content-Type": "image/png"})
            ).status_code == 200
            assert not bulk.done()
            parse.gate.set()
            assert (await bulk).status_code == 200

    asyncio.run(asyncio.wait_for(play(), 60))
    assert parse.on_a_loop == [False]


def test_the_loop_answers_others_while_a_body_unfolds(application, watch):
    """Whether it unfolds to much is known when it has unfolded that far: so far it does on the loop."""
    inflate = watch(bodies, "_inflate")
    body = gzip.compress(in_json(MANY)[0])
    assert len(body) < 1000

    async def play():
        async with application() as (client, _):
            bulk = asyncio.create_task(client.post(INFER, content=body, headers=GZIP, timeout=60))
            assert await asyncio.to_thread(inflate.entered.wait, 30)
            assert (await client.get("/health/live")).status_code == 200
            assert not bulk.done()
            inflate.gate.set()
            assert (await bulk).status_code == 200

    asyncio.run(asyncio.wait_for(play(), 60))
    assert inflate.on_a_loop == [True, False]


def test_what_is_small_stays_on_the_loop(application, watch):
    parse, inflate = watch(rest, "parse"), watch(bodies, "_inflate")
    body, _ = in_json(MANY[:1])

    async def play():
        async with application() as (client, _):
            assert (await client.post(INFER, content=body)).status_code == 200
            assert (await client.post(INFER, content=gzip.compress(body), headers=GZIP)).status_code == 200

    asyncio.run(asyncio.wait_for(play(), 60))
    assert parse.on_a_loop == [True, True]
    assert inflate.on_a_loop == [True]


class TestOverGrpc:
    @pytest.fixture
    def stock(self):
        return pytest.importorskip("tritonclient.grpc")

    @pytest.fixture
    def parsed(self, watch):
        """The first step of a translation, watched."""
        return watch(pytest.importorskip("goodcert.serve.oip.grpc_server"), "_parsed")

    @staticmethod
    def infer(stock, service, images):
        given = stock.InferInput("images", list(images.shape), "FP32").set_data_from_numpy(images)
        with stock.InferenceServerClient(f"127.0.0.1:{service.app.state.grpc_port}") as client:
            return client.infer("tiny", [given]).as_numpy("label_index")

    def test_the_loop_answers_others_while_a_large_message_is_translated(self, stock, start, parsed):
        with start(grpc_port=0) as service, ThreadPoolExecutor(1) as callers:
            bulk = callers.submit(self.infer, stock, service, FLOATS)
            assert parsed.entered.wait(30)
            assert service.client.get("/health/live").status_code == 200
            assert len(self.infer(stock, service, FLOATS[:1])) == 1
            assert not bulk.done()
            parsed.gate.set()
            assert len(bulk.result(30)) == 1000
        assert parsed.on_a_loop == [False, True]

    def test_a_message_counts_as_under_way_while_it_is_translated(self, stock, start, parsed):
        with start(grpc_port=0, max_bytes_in_flight=150_000, max_body_bytes=150_000) as service:
            with ThreadPoolExecutor(1) as callers:
                bulk = callers.submit(self.infer, stock, service, FLOATS)
                assert parsed.entered.wait(30)
                with pytest.raises(stock.InferenceServerException) as told:
                    self.infer(stock, service, FLOATS)
                assert told.value.status() == "StatusCode.UNAVAILABLE"
                assert dict(told.value.__context__.trailing_metadata())["retry-after"] == "1"
                assert service.metric("goodcert_rejections_total", code="bodies_full") == 1
                parsed.gate.set()
                assert len(bulk.result(30)) == 1000
            assert len(self.infer(stock, service, FLOATS)) == 1000
