"""The Open Inference Protocol over a real socket, mostly as the stock client of Triton speaks it by default."""

import asyncio
import gzip
import socket
import struct
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from prometheus_client import CollectorRegistry
from tritonclient.utils import InferenceServerException

from goodcert.serve.admission.admission import Admission, BytesInFlight
from goodcert.serve.admission.keyring import Keyring
from goodcert.serve.core.lifecycle import Lifecycle
from goodcert.serve.http.disconnects import DisconnectWatcher
from goodcert.serve.http.middleware import RequestMiddleware
from goodcert.serve.http.problems import Answers
from goodcert.serve.http.service import Service
from goodcert.serve.oip.dataplane import Dataplane
from goodcert.serve.oip.infer_response import COLUMNS
from goodcert.serve.oip.rest import OpenInference
from goodcert.serve.repository.repository import ModelRefused, Repository
from goodcert.serve.settings.settings import Settings
from goodcert.serve.telemetry.metrics import Metrics

SHAPE = (1, 4, 6)
NUMBERS = ("confidence", "confidence_upper_bound", "confidence_lower_bound")
INFER = "/v2/models/tiny/infer"


@pytest.fixture
def connect():
    """Opens stock clients, closes them at the end."""
    opened = []

    def connect_to(service, **options):
        opened.append(triton.InferenceServerClient(f"127.0.0.1:{service.port}", **options))
        return opened[-1]

    yield connect_to
    for client in opened:
        client.close()


@pytest.fixture
def client(service, connect):
    return connect(service)


def tensor(values, datatype, **options):
    given = triton.InferInput("images", list(values.shape), datatype)
    return given.set_data_from_numpy(values, **options)


def encoded(*uploads):
    return tensor(np.array(uploads, dtype=np.object_), "BYTES")


@pytest.fixture
def floats():
    return np.random.default_rng(5).random((3, *SHAPE), dtype=np.float32)


def answers(result):
    return {name: result.as_numpy(name).tolist() for name in COLUMNS}


def assert_error(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]


class TestDescriptions:
    def test_the_server_is_live_and_ready(self, client):
        assert client.is_server_live()
        assert client.is_server_ready()

    def test_the_server_describes_itself(self, client):
        told = client.get_server_metadata()
        assert told["name"] == "goodcert"
        assert "binary_tensor_data" in told["extensions"]

    @pytest.mark.parametrize("version", ["", "1"])
    def test_a_model_describes_its_tensors(self, client, version):
        told = client.get_model_metadata("tiny", version)
        assert (told["name"], told["versions"]) == ("tiny", ["1"])
        assert told["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, *SHAPE]}]
        assert {output["name"]: output["datatype"] for output in told["outputs"]} == {
            "label": "BYTES",
            "label_index": "INT64",
            "confidence": "FP64",
            "confidence_upper_bound": "FP64",
            "confidence_lower_bound": "FP64",
            "verdict": "BYTES",
        }

    @pytest.mark.parametrize("version", ["", "1"])
    def test_a_model_tells_its_configuration(self, client, version):
        told = client.get_model_config("tiny", version)
        assert told["input"] == [{"name": "images", "data_type": "TYPE_FP32", "dims": list(SHAPE)}]
        assert told["max_batch_size"] == 1024
        assert told["parameters"]["epsilon"] == {"string_value": "0.01"}

    def test_only_models_that_are_there_are_ready(self, client):
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", "1")
        assert not client.is_model_ready("tiny", "2")
        assert not client.is_model_ready("other")

    def test_the_index_lists_what_is_served_and_why_the_rest_is_not(
        self, start, write_model, make_graph, tmp_path, connect
    ):
        write_model(tmp_path / "all", "good", "2")
        write_model(tmp_path / "all", "bad", graph=make_graph(name="refuse"))
        with start(tmp_path / "all") as service:
            good, bad = connect(service).get_model_repository_index()
            ready = service.client.post("/v2/repository/index", json={"ready": True}).json()
            for wrong in ({"ready": "yes"}, {"Ready": True}):
                assert_error(service.client.post("/v2/repository/index", json=wrong), 400)
        assert good == {"name": "good", "version": "2", "state": "READY", "reason": ""}
        assert (bad["name"], bad["state"]) == ("bad", "UNAVAILABLE")
        assert "Loop" in bad["reason"]
        assert ready == [good]

    def test_statistics_count_requests_and_images(self, client, floats):
        client.infer("tiny", [tensor(floats, "FP32")])
        with pytest.raises(InferenceServerException):
            client.infer("tiny", [encoded(b"no image")])
        for told in (client.get_inference_statistics(), client.get_inference_statistics("tiny", "1")):
            (stats,) = told["model_stats"]
            assert (stats["name"], stats["version"], stats["inference_count"]) == ("tiny", "1", 3)
            assert stats["inference_stats"]["success"]["count"] == 1
            assert stats["inference_stats"]["fail"]["count"] == 1
            assert stats["inference_stats"]["success"]["ns"] > 0

    def test_a_model_that_broke_its_guarantee_is_not_ready(self, service, client, png):
        service.engines[0].break_guarantee = True
        with pytest.raises(InferenceServerException) as told:
            client.infer("tiny", [encoded(png)])
        assert told.value.status() == "500"
        assert not client.is_model_ready("tiny")
        assert not client.is_server_ready()
        assert client.is_server_live()
        assert client.get_model_repository_index()[0]["state"] == "UNAVAILABLE"


class TestInference:
    def test_float32_tensors_are_answered_image_by_image(self, client, floats):
        result = client.infer("tiny", [tensor(floats, "FP32")], request_id="seven")
        told = result.get_response()
        assert (told["id"], told["model_name"], told["model_version"]) == ("seven", "tiny", "1")
        assert told["parameters"]["epsilon"] == 0.01
        assert told["parameters"]["scope"] == "model_input"
        values = answers(result)
        assert all(len(column) == 3 for column in values.values())
        for lower, middle, upper in zip(*(values[NUMBERS[i]] for i in (2, 0, 1)), strict=True):
            assert lower <= middle <= upper

    def test_float32_pixels_are_certified_as_they_are(self, service, client, floats):
        """To the bit what the engine says of the same ball, which is around the float32 values."""
        from goodcert.bounds.ball import around

        direct = service.engines[0].certify_balls(around(floats, 0.01))
        values = answers(client.infer("tiny", [tensor(floats, "FP32")]))
        assert values["confidence"] == direct.confidence.tolist()
        assert values["confidence_upper_bound"] == direct.confidence_upper_bound.tolist()
        assert values["confidence_lower_bound"] == direct.confidence_lower_bound.tolist()
        assert values["label_index"] == direct.index.tolist()

    @pytest.mark.parametrize("binary", [True, False])
    def test_uint8_pixels_and_encoded_images_have_the_answers_of_v1(self, service, client, pixels, png, binary):
        certificate = service.certify(png, params={"epsilon": "0.05"}).json()
        images = pixels[None, None]
        for given in (tensor(images, "UINT8", binary_data=binary), encoded(png)):
            values = answers(client.infer("tiny", [given], parameters={"epsilon": "0.05"}))
            assert {name: [certificate[name]] for name in (*NUMBERS, "verdict")} == {
                name: [value.decode() if isinstance(value, bytes) else value for value in values[name]]
                for name in (*NUMBERS, "verdict")
            }
            assert values["label"] == [certificate["prediction"]["label"].encode()]
            assert values["label_index"] == [certificate["prediction"]["index"]]

    def test_json_and_binary_data_say_the_same(self, client, floats):
        wishes = [triton.InferRequestedOutput(name, binary_data=False) for name in COLUMNS]
        in_json = client.infer("tiny", [tensor(floats, "FP32", binary_data=False)], outputs=wishes)
        assert "data" in in_json.get_output("label")
        in_binary = answers(client.infer("tiny", [tensor(floats, "FP32")]))
        for name in COLUMNS:
            values = [text.decode() if isinstance(text, bytes) else text for text in in_binary[name]]
            assert in_json.get_output(name)["data"] == values

    def test_only_the_outputs_asked_for_are_given(self, client, floats):
        wishes = [triton.InferRequestedOutput("verdict"), triton.InferRequestedOutput("label", binary_data=False)]
        result = client.infer("tiny", [tensor(floats, "FP32")], outputs=wishes)
        assert [output["name"] for output in result.get_response()["outputs"]] == ["verdict", "label"]
        assert result.as_numpy("confidence") is None

    @pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
    @pytest.mark.parametrize("wanted", [None, "gzip", "deflate"])
    def test_bodies_may_be_compressed_both_ways(self, client, floats, sent, wanted):
        plain = answers(client.infer("tiny", [tensor(floats, "FP32")]))
        result = client.infer(
            "tiny",
            [tensor(floats, "FP32")],
            request_compression_algorithm=sent,
            response_compression_algorithm=wanted,
        )
        assert answers(result) == plain

    def test_many_requests_may_be_under_way_at_once(self, service, connect, floats):
        client = connect(service, concurrency=4)
        alone = answers(client.infer("tiny", [tensor(floats, "FP32")]))
        waiting = [client.async_infer("tiny", [tensor(floats, "FP32")]) for _ in range(12)]
        assert [answers(request.get_result()) for request in waiting] == [alone] * 12

    def test_the_images_of_a_request_share_a_run_of_the_engine(self, service, client, floats):
        client.infer("tiny", [tensor(floats, "FP32")])
        assert service.engines[0].batches == [3]

    def test_more_images_than_a_batch_holds_are_answered_in_order(self, start, connect):
        images = np.random.default_rng(6).random((20, *SHAPE), dtype=np.float32)
        with start(max_batch=8) as service:
            client = connect(service)
            together = answers(client.infer("tiny", [tensor(images, "FP32")]))
            assert sum(service.engines[0].batches) == 20
            assert max(service.engines[0].batches) <= 8
            singles = [answers(client.infer("tiny", [tensor(image[None], "FP32")])) for image in images]
        assert together == {name: [one[name][0] for one in singles] for name in COLUMNS}

    def test_an_image_that_cannot_be_read_refuses_the_request_and_is_named(self, client, png):
        with pytest.raises(InferenceServerException, match=r"images\[2\].*decode") as told:
            client.infer("tiny", [encoded(png, png, b"no image", png)])
        assert told.value.status() == "400"

    def test_a_bad_pixel_refuses_the_request_and_is_named(self, client, floats):
        floats[1, 0, 2, 3] = np.nan
        with pytest.raises(InferenceServerException, match=r"images\[1\]"):
            client.infer("tiny", [tensor(floats, "FP32")])

    def test_the_request_chooses_the_method(self, service, client, floats):
        service.engines[0].slack = 1.0
        by_ibp = client.infer("tiny", [tensor(floats, "FP32")])
        by_crown = client.infer("tiny", [tensor(floats, "FP32")], parameters={"method": "crown"})
        assert by_crown.get_response()["parameters"]["method"] == "crown"
        tight, loose = (answers(result)["confidence_upper_bound"] for result in (by_crown, by_ibp))
        assert all(a < b for a, b in zip(tight, loose, strict=True))

    def test_a_request_that_cannot_be_answered_within_its_timeout_is_given_up(self, service, client, floats):
        service.engines[0].gate.clear()
        try:
            with pytest.raises(InferenceServerException) as told:
                client.infer("tiny", [tensor(floats, "FP32")], timeout=20_000)
        finally:
            service.engines[0].gate.set()
        assert told.value.status() == "504"

    def test_shared_memory_and_sequences_are_refused_in_words(self, client, floats):
        region = triton.InferInput("images", [1, *SHAPE], "FP32")
        region.set_shared_memory("region", 96)
        with pytest.raises(InferenceServerException, match="shared memory is not supported"):
            client.infer("tiny", [region])
        with pytest.raises(InferenceServerException, match="shared memory is not supported"):
            client.get_system_shared_memory_status()
        with pytest.raises(InferenceServerException, match="sequences are not supported"):
            client.infer("tiny", [tensor(floats, "FP32")], sequence_id=3)

    @pytest.mark.parametrize("ask", ["get_log_settings", "get_trace_settings", "get_cuda_shared_memory_status"])
    def test_what_is_not_there_is_said_in_words(self, client, ask):
        with pytest.raises(InferenceServerException) as told:
            getattr(client, ask)()
        assert told.value.status() == "400"

    def test_requests_count_like_those_of_v1(self, service, client, floats):
        client.infer("tiny", [tensor(floats, "FP32")])
        assert service.metric("goodcert_requests_total", model="tiny", code="200") == 1
        with pytest.raises(InferenceServerException):
            client.infer("other", [tensor(floats, "FP32")])
        assert service.metric("goodcert_requests_total", model="unknown", code="404") == 1
        assert service.metric("goodcert_stage_seconds_count", stage="total") == 3


class TestWire:
    """What other clients send, byte by byte."""

    def test_a_raw_image_is_a_whole_request(self, service, png):
        answer = service.client.post(INFER, content=png, headers={"Inference-Header-Content-Length": "0"})
        assert answer.status_code == 200
        told = answer.json()
        certificate = service.certify(png).json()
        values = {output["name"]: output["data"] for output in told["outputs"]}
        assert values["confidence_upper_bound"] == [certificate["confidence_upper_bound"]]
        assert told["parameters"]["scope"] == certificate["scope"] == "upload"

    def test_a_raw_image_has_its_parameters_in_the_query(self, service, png):
        headers = {"Inference-Header-Content-Length": "0"}
        answer = service.client.post(f"{INFER}?epsilon=0.2", content=png, headers=headers)
        assert answer.json()["parameters"]["epsilon"] == 0.2

    def test_the_headers_of_v1_mean_nothing_here(self, service, png):
        headers = {"Inference-Header-Content-Length": "0", "X-Priority": "urgent", "X-Request-Timeout-Ms": "soon"}
        assert service.client.post(INFER, content=png, headers=headers).status_code == 200

    def test_a_request_without_an_id_is_answered_without_one(self, service, png):
        answer = service.client.post(INFER, content=png, headers={"Inference-Header-Content-Length": "0"})
        assert "id" not in answer.json()

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v2/nothing", 404),
            ("GET", "/v2/", 404),
            ("GET", "/v2/models", 404),
            ("GET", "/v2/models/tiny/nothing", 404),
            ("GET", "/v2/models/other", 404),
            ("GET", "/v2/models/tiny/versions/9/ready", 404),
            ("POST", "/v2/models/other/infer", 404),
            ("GET", INFER, 405),
            ("PUT", INFER, 405),
            ("POST", "/v2", 405),
            ("POST", "/v2/models/tiny/ready", 405),
            ("GET", "/v2/repository/index", 405),
            ("GET", "/v2/repository/models/tiny/load", 405),
            ("POST", INFER, 400),
            ("POST", "/v2/repository/models/tiny/load", 403),
            ("POST", "/v2/repository/models/tiny/unload", 403),
        ],
    )
    def test_every_refusal_has_the_protocols_form(self, service, method, path, status):
        answer = service.client.request(method, path)
        assert_error(answer, status)
        if status == 405:
            assert answer.headers["allow"] in ("GET", "POST")

    def test_refusals_of_parameters_have_the_protocols_form(self, service, png):
        headers = {"Inference-Header-Content-Length": "0"}
        assert_error(service.client.post(f"{INFER}?epsilon=2", content=png, headers=headers), 422)
        assert_error(service.client.post(f"{INFER}?method=x", content=png, headers=headers), 422)

    def test_uploads_are_recorded_like_those_of_v1_before_the_answer_is_sent(self, start, tmp_path, png, floats):
        pytest.importorskip("sqlalchemy")
        headers = {"Inference-Header-Content-Length": "0"}
        with start(ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}") as service:
            assert service.client.post(INFER, content=png, headers=headers).status_code == 200
            assert service.client.post(INFER, json=self.request(floats[0])).status_code == 200  # no upload
            (found,) = service.client.get("/v1/certificates").json()["certificates"]
            certificate = service.certify(png).json()
        for name in ("image", "epsilon", *NUMBERS, "verdict"):
            assert found[name] == certificate[name]

    def test_other_paths_keep_their_own_form(self, service):
        for path in ("/v1/models/other", "/v20", "/"):
            assert service.client.get(path).headers["content-type"] == "application/problem+json"

    def test_keys_are_asked_for_in_the_protocols_form(self, start, png):
        with start(api_keys="right") as service:
            assert_error(service.client.get("/v2"), 401)
            assert_error(service.client.post(INFER, content=png), 401)
            assert_error(service.client.post(INFER, content=png, headers={"X-API-Key": "wrong"}), 403)
            assert service.client.get("/v2/health/live").status_code == 200
            assert service.client.get("/v2/health/ready").status_code == 200
            headers = {"X-API-Key": "right", "Inference-Header-Content-Length": "0"}
            assert service.client.post(INFER, content=png, headers=headers).status_code == 200

    def test_a_body_that_is_or_unfolds_too_large_is_refused(self, start):
        with start(max_body_bytes=1000) as service:
            assert_error(service.client.post(INFER, content=bytes(1001)), 413)
            chunks = (bytes(100) for _ in range(11))
            assert_error(service.client.post(INFER, content=chunks), 413)
            bomb = gzip.compress(bytes(100_000))
            assert len(bomb) < 1000
            answer = service.client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
            assert_error(answer, 413)

    def test_what_a_body_unfolds_to_is_under_way_until_it_is_answered(self, start):
        image = {"name": "images", "datatype": "UINT8", "shape": [1000, *SHAPE], "data": [100] * 24_000}
        body = orjson.dumps({"inputs": [image]})
        small = gzip.compress(body)
        assert len(small) < 1000 < 90_000 < len(body)
        with (
            start(max_body_bytes=100_000, max_bytes_in_flight=100_000) as service,
            ThreadPoolExecutor(1) as callers,
        ):
            service.engines[0].gate.clear()
            options = {"content": small, "headers": {"Content-Encoding": "gzip"}}
            first = callers.submit(service.client.post, INFER, **options)
            assert service.engines[0].entered.wait(30)
            refused = service.client.post(INFER, content=bytes(10_000))
            assert_error(refused, 503)
            assert refused.headers["retry-after"] == "1"
            service.engines[0].gate.set()
            assert first.result(30).status_code == 200
            assert service.client.post(INFER, **options).status_code == 200

    def test_an_encoding_that_is_not_read_is_refused(self, service):
        assert_error(service.client.post(INFER, content=b"x", headers={"Content-Encoding": "br"}), 415)

    def test_an_engine_that_fails_is_told_without_its_text(self, service, png):
        service.engines[0].fail = True
        answer = service.client.post(INFER, content=png, headers={"Inference-Header-Content-Length": "0"})
        assert_error(answer, 500)
        assert "secret" not in answer.text

    def test_a_full_queue_says_when_to_come_back(self, start, floats):
        with start(max_queue_items=1, max_batch=1) as service, ThreadPoolExecutor(6) as callers:
            engine = service.engines[0]
            engine.gate.clear()
            asked = [callers.submit(service.client.post, INFER, json=self.request(floats[0])) for _ in range(6)]
            # One runs, one waits; while the engine is held, nobody else can be answered.
            refused = [done.result() for done in islice(as_completed(asked, 30), 4)]
            engine.gate.set()
        for answer in refused:
            assert_error(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1

    def test_of_a_request_that_does_not_fit_into_the_queue_nothing_is_queued(self, start, floats):
        with start(max_queue_items=4, max_batch=4) as service, ThreadPoolExecutor(2) as callers:
            engine = service.engines[0]
            engine.gate.clear()
            body = {"inputs": [self.request(floats[0])["inputs"][0] | {"shape": [3, *SHAPE]}]}
            body["inputs"][0]["data"] = floats.ravel().tolist()
            running = callers.submit(service.client.post, INFER, json=body)
            assert engine.entered.wait(30)
            while service.metric("goodcert_queue_items", model="tiny") != 2:  # bulk runs one at a time here
                pass
            refused = service.client.post(INFER, json=body)
            assert_error(refused, 503)
            assert int(refused.headers["retry-after"]) >= 1
            assert service.metric("goodcert_queue_items", model="tiny") == 2
            engine.gate.set()
            assert running.result(30).status_code == 200
        assert sum(engine.batches) == 3

    def test_the_images_of_a_caller_who_hangs_up_leave_the_queue(self, start, floats):
        with start(max_batch=1) as service:
            engine = service.engines[0]
            engine.gate.clear()
            body = orjson.dumps(self.request(floats[0]))
            head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            with socket.create_connection(("127.0.0.1", service.port)) as first:
                first.sendall(head + body)
                assert engine.entered.wait(30)
                with socket.create_connection(("127.0.0.1", service.port)) as second:
                    second.sendall(head + body)
                    while service.metric("goodcert_queue_items", model="tiny") != 1:
                        pass
                while service.metric("goodcert_queue_items", model="tiny"):
                    pass
            engine.gate.set()
            assert engine.batches == [1]

    def test_nobody_gets_a_bound_for_bytes_that_follow_the_tensor(self, service, floats):
        raw = floats[0].tobytes()
        head = (
            b'{"inputs":[{"name":"images","datatype":"FP32","shape":[1,1,4,6],'
            b'"parameters":{"binary_data_size":96}}]}'
        )
        headers = {"Inference-Header-Content-Length": str(len(head))}
        assert service.client.post(INFER, content=head + raw, headers=headers).status_code == 200
        assert_error(service.client.post(INFER, content=head + raw + b"x", headers=headers), 400)

    def test_binary_answers_say_where_their_json_ends(self, service, floats):
        request = self.request(floats[0]) | {
            "outputs": [{"name": "confidence", "parameters": {"binary_data": True}}]
        }
        answer = service.client.post(INFER, json=request, headers={"Accept-Encoding": "identity"})
        length = int(answer.headers["inference-header-content-length"])
        assert answer.headers["content-type"] == "application/octet-stream"
        (value,) = struct.unpack("<d", answer.content[length:])
        plain = service.client.post(INFER, json=self.request(floats[0])).json()
        assert value == next(o["data"][0] for o in plain["outputs"] if o["name"] == "confidence")

    @staticmethod
    def request(image):
        data = image.ravel().tolist()
        return {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, *SHAPE], "data": data}]}


class Shelf(Repository):
    """A repository that only writes down what it is told to load."""

    def __init__(self):
        super().__init__(Path("models"), loader=None)
        self.told = []

    async def load(self, name):
        if name == "broken":
            raise ModelRefused("node 'n' (Loop): this operator cannot be bounded")
        self.told.append(("load", name))

    async def unload(self, name):
        self.told.append(("unload", name))


class TestAdministration:
    def test_a_model_is_unloaded_and_loaded_again_while_the_service_runs(self, start, connect, floats):
        with start(model_admin=True) as service:
            client = connect(service)
            before = answers(client.infer("tiny", [tensor(floats, "FP32")]))
            client.unload_model("tiny")
            assert not client.is_model_ready("tiny")
            assert [entry["state"] for entry in client.get_model_repository_index()] == ["UNAVAILABLE"]
            with pytest.raises(InferenceServerException) as told:
                client.infer("tiny", [tensor(floats, "FP32")])
            assert told.value.status() == "404"
            client.load_model("tiny")
            assert client.is_model_ready("tiny")
            assert answers(client.infer("tiny", [tensor(floats, "FP32")])) == before
            with pytest.raises(InferenceServerException):
                client.load_model("nobody")

    def ask(self, path, content=b"", repository=None, **settings):
        service = Service(
            Settings(**settings),
            repository or Shelf(),
            certifier=None,
            exposition=None,
            answers=Answers(lambda _: None),
            lifecycle=None,
            disconnects=DisconnectWatcher(),
            in_flight=BytesInFlight(1000),
            recorder=None,
            changes=repository or Shelf(),
        )
        admission = Admission(
            Keyring(),
            BytesInFlight(2**20),
            2**20,
            Lifecycle(),
            Metrics(CollectorRegistry()),
            names=frozenset,
        )
        protocol = OpenInference(None, lambda: Dataplane(service))
        transport = httpx.ASGITransport(RequestMiddleware(protocol, admission, service.answers))

        async def post():
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.post(f"/v2/repository/models/{path}", content=content)

        return asyncio.run(post())

    @pytest.mark.parametrize("verb", ["load", "unload"])
    def test_models_come_and_go_where_that_is_allowed(self, verb):
        shelf = Shelf()
        assert self.ask(f"tiny/{verb}", b"{}", shelf, model_admin=True).status_code == 200
        assert shelf.told == [(verb, "tiny")]

    @pytest.mark.parametrize("verb", ["load", "unload"])
    def test_by_default_nobody_may(self, verb):
        shelf = Shelf()
        assert_error(self.ask(f"tiny/{verb}", b"{}", shelf), 403)
        assert shelf.told == []

    def test_what_the_stock_client_sends_is_understood(self):
        assert self.ask("tiny/load", model_admin=True).status_code == 200
        body = b'{"parameters":{"unload_dependents":false}}'
        assert self.ask("tiny/unload", body, model_admin=True).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            b'{"parameters":{"config":"{}"}}',
            b'{"parameters":{"file:1/model.onnx":"AAAA"}}',
            b"[]",
            b"{",
            b'{"parameters":1}',
            b'{"parameters":0}',
            b'{"version":"2"}',
            b'{"parameters":{}}' + b" " * 64 * 2**10,
        ],
    )
    def test_a_model_cannot_be_sent_along(self, body):
        shelf = Shelf()
        assert_error(self.ask("tiny/load", body, shelf, model_admin=True), 400)
        assert shelf.told == []

    def test_why_a_model_is_refused_is_told(self):
        answer = self.ask("broken/load", model_admin=True)
        assert_error(answer, 400)
        assert "Loop" in answer.json()["error"]

    def test_the_stock_client_unloads_and_loads_a_model_that_serves(self, start, connect):
        with start(model_admin=True) as service:
            client = connect(service)
            client.unload_model("tiny")
            assert not client.is_model_ready("tiny")
            with pytest.raises(InferenceServerException, match=r"tiny|Unknown|No such"):
                client.get_model_metadata("tiny")
            client.load_model("tiny")
            assert client.is_model_ready("tiny")
