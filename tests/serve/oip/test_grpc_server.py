"""The protocol over gRPC, as the stock client of Triton speaks it."""

import gzip
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from goodcert.serve.admission.keys import create
from goodcert.serve.core.lifecycle import LifecyclePhase
from goodcert.serve.oip.infer_response import COLUMNS

SHAPE = (1, 4, 6)


@pytest.fixture
def serve(start):
    """Starts the service with gRPC; gives it, a stock client, and its address."""

    @contextmanager
    def serve_it(**settings):
        with start(grpc_port=0, **settings) as service:
            address = f"127.0.0.1:{service.app.state.grpc_port}"
            with triton.InferenceServerClient(address) as client:
                yield service, client, address

    return serve_it


@pytest.fixture
def served(serve):
    with serve() as everything:
        yield everything


@pytest.fixture
def floats():
    return np.random.default_rng(5).random((3, *SHAPE), dtype=np.float32)


def tensor(values, datatype):
    return triton.InferInput("images", list(values.shape), datatype).set_data_from_numpy(values)


def encoded(*uploads):
    return tensor(np.array(uploads, dtype=np.object_), "BYTES")


def answers(result):
    return {name: result.as_numpy(name).tolist() for name in COLUMNS}


@contextmanager
def refused(code, text="."):
    with pytest.raises(InferenceServerException, match=text) as told:
        yield
    assert told.value.status() == f"StatusCode.{code}"
    assert told.value.message()


@pytest.fixture
def busy(served, png):
    """A service whose engine is at an image of somebody else until its gate is opened, and a client."""
    service, client, _ = served
    service.engines[0].gate.clear()
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(service.certify, png)
        assert service.engines[0].entered.wait(30)
        yield service, client
        service.engines[0].gate.set()
        assert first.result(30).status_code == 200


def counted(service):
    """The statuses of requests for certificates that are over, with their numbers."""
    samples = [sample for metric in service.registry.collect() for sample in metric.samples]
    return {s.labels["code"]: s.value for s in samples if s.name == "goodcert_requests_total"}


class TestDescriptions:
    def test_server_and_models_are_live_and_ready(self, served):
        _, client, _ = served
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("tiny")
        assert client.is_model_ready("tiny", "1")

    def test_metadata_is_that_of_http(self, served):
        service, client, _ = served
        server = client.get_server_metadata(as_json=True)
        assert server == service.client.get("/v2").json()
        told = client.get_model_metadata("tiny")
        described = service.client.get("/v2/models/tiny").json()
        assert (told.name, list(told.versions), told.platform) == ("tiny", ["1"], described["platform"])
        for ours, theirs in ((told.inputs, described["inputs"]), (told.outputs, described["outputs"])):
            assert [{"name": t.name, "datatype": t.datatype, "shape": list(t.shape)} for t in ours] == theirs

    def test_the_index_is_that_of_http(self, served):
        service, client, _ = served
        (told,) = client.get_model_repository_index().models
        (entry,) = service.client.post("/v2/repository/index").json()
        assert {"name": told.name, "version": told.version, "state": told.state, "reason": told.reason} == entry

    @pytest.mark.parametrize("name", ["other", "stats", "tiny/config", "../health", "tiny/versions/1"])
    def test_an_unknown_model_is_not_found(self, served, name):
        _, client, _ = served
        for ask in (client.get_model_metadata, client.is_model_ready, client.get_model_config):
            with pytest.raises(InferenceServerException) as told:
                ask(name)
            assert told.value.status() in ("StatusCode.NOT_FOUND", "StatusCode.UNIMPLEMENTED")

    def test_a_model_that_broke_its_guarantee_is_not_ready(self, served, png):
        service, client, _ = served
        service.engines[0].break_guarantee = True
        with refused("INTERNAL"):
            client.infer("tiny", [encoded(png)])
        assert not client.is_model_ready("tiny")
        assert not client.is_server_ready()
        assert client.is_server_live()

    def test_loading_is_off_by_default(self, served):
        _, client, _ = served
        with refused("PERMISSION_DENIED", "model_admin"):
            client.load_model("tiny")
        with refused("PERMISSION_DENIED", "model_admin"):
            client.unload_model("tiny")


class TestInference:
    @pytest.mark.parametrize("kind", ["FP32", "UINT8", "BYTES"])
    def test_answers_are_those_of_http_to_the_bit(self, served, floats, pixels, png, kind):
        import tritonclient.http as http

        service, client, _ = served
        values = {
            "FP32": floats,
            "UINT8": pixels[None, None],
            "BYTES": np.array([png, png], dtype=np.object_),
        }[kind]
        result = client.infer("tiny", [tensor(values, kind)], request_id="seven", parameters={"epsilon": 0.05})
        told = result.get_response()
        assert (told.id, told.model_name, told.model_version) == ("seven", "tiny", "1")
        assert told.parameters["epsilon"].double_param == 0.05
        assert told.parameters["scope"].string_param == ("upload" if kind == "BYTES" else "model_input")
        given = http.InferInput("images", list(values.shape), kind).set_data_from_numpy(values)
        with http.InferenceServerClient(f"127.0.0.1:{service.port}") as other:
            assert answers(result) == answers(other.infer("tiny", [given], parameters={"epsilon": 0.05}))

    def test_typed_contents_say_the_same_as_raw_ones(self, served, floats, pixels, png):
        _, client, address = served
        fields = {"FP32": "fp32_contents", "UINT8": "uint_contents", "BYTES": "bytes_contents"}
        floats = np.concatenate([floats] * 100)  # enough to be read in parts
        samples = {"FP32": floats, "UINT8": pixels[None, None], "BYTES": np.array([png], dtype=np.object_)}
        with grpc.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for kind, values in samples.items():
                request = service_pb2.ModelInferRequest(model_name="tiny")
                given = request.inputs.add(name="images", datatype=kind, shape=values.shape)
                getattr(given.contents, fields[kind]).extend(values.ravel().tolist())
                raw = client.infer("tiny", [tensor(values, kind)]).get_response()
                assert list(stub.ModelInfer(request).raw_output_contents) == list(raw.raw_output_contents)

    def test_contents_that_cannot_be_are_refused(self, served, floats):
        _, _, address = served
        with grpc.insecure_channel(address) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            for datatype, field, values in (
                ("UINT8", "uint_contents", [256] * 24),
                ("FP32", "fp64_contents", [0.5] * 24),
                ("FP64", "fp64_contents", [0.5] * 24),
                ("FP32", "fp32_contents", [float("nan")] * 24),
            ):
                request = service_pb2.ModelInferRequest(model_name="tiny")
                given = request.inputs.add(name="images", datatype=datatype, shape=[1, *SHAPE])
                getattr(given.contents, field).extend(values)
                with pytest.raises(grpc.RpcError) as told:
                    stub.ModelInfer(request)
                assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            request.raw_input_contents.append(floats[0].tobytes())
            with pytest.raises(grpc.RpcError, match="raw_input_contents"):
                stub.ModelInfer(request)

    def test_bytes_that_are_no_message_are_refused(self, served):
        _, _, address = served
        with grpc.insecure_channel(address) as channel:
            ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            with pytest.raises(grpc.RpcError, match="not one of the protocol") as told:
                ask(b"\xff\xff\xff")
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_only_the_outputs_asked_for_are_given(self, served, floats):
        _, client, _ = served
        wishes = [triton.InferRequestedOutput("verdict"), triton.InferRequestedOutput("confidence")]
        result = client.infer("tiny", [tensor(floats, "FP32")], outputs=wishes)
        assert [output.name for output in result.get_response().outputs] == ["verdict", "confidence"]

    @pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
    def test_messages_may_be_compressed(self, served, floats, algorithm):
        _, client, _ = served
        plain = answers(client.infer("tiny", [tensor(floats, "FP32")]))
        assert answers(client.infer("tiny", [tensor(floats, "FP32")], compression_algorithm=algorithm)) == plain

    def test_refusals_say_what_http_says(self, served, floats, png):
        _, client, _ = served
        with refused("INVALID_ARGUMENT", r"images\[1\]"):
            client.infer("tiny", [encoded(png, b"no image")])
        with refused("INVALID_ARGUMENT", "plain decimal"):
            client.infer("tiny", [tensor(floats, "FP32")], parameters={"epsilon": 2.0})
        with refused("INVALID_ARGUMENT", "sequences"):
            client.infer("tiny", [tensor(floats, "FP32")], sequence_id=1)
        with refused("NOT_FOUND"):
            client.infer("other", [tensor(floats, "FP32")])
        region = triton.InferInput("images", [1, *SHAPE], "FP32")
        region.set_shared_memory("region", 96)
        with refused("INVALID_ARGUMENT", "shared memory"):
            client.infer("tiny", [region])

    def test_the_timeout_of_a_request_holds(self, served, floats):
        service, client, _ = served
        service.engines[0].gate.clear()
        try:
            with refused("DEADLINE_EXCEEDED", "not ready within"):
                client.infer("tiny", [tensor(floats, "FP32")], timeout=20_000)
        finally:
            service.engines[0].gate.set()

    def test_a_caller_that_hangs_up_leaves_the_queue_and_is_no_fault_of_ours(self, busy, floats):
        service, client = busy
        call = client.async_infer("tiny", [tensor(floats, "FP32")], lambda **_: None)
        while service.metric("goodcert_queue_items", model="tiny") != len(floats):
            pass  # they are on their way
        call.cancel()
        while not counted(service):
            pass
        assert counted(service) == {"499": 1}
        assert service.metric("goodcert_rejections_total", code="caller_gone") == 1
        assert service.metric("goodcert_queue_items", model="tiny") == 0
        service.engines[0].gate.set()
        assert client.infer("tiny", [tensor(floats, "FP32")])
        assert service.engines[0].batches == [1, len(floats)]

    def test_nor_is_one_that_waits_no_longer(self, busy, floats):
        service, client = busy
        while not counted(service):
            with refused("DEADLINE_EXCEEDED"):
                client.infer("tiny", [tensor(floats, "FP32")], client_timeout=0.15)
        assert set(counted(service)) == {"499"}

    def test_an_engine_that_fails_is_told_without_its_text(self, served, floats):
        service, client, _ = served
        service.engines[0].fail = True
        with refused("INTERNAL", "^(?!.*secret)"):
            client.infer("tiny", [tensor(floats, "FP32")])

    def test_requests_count_like_those_of_http(self, served, floats):
        service, client, _ = served
        client.infer("tiny", [tensor(floats, "FP32")])
        assert service.metric("goodcert_requests_total", model="tiny", code="200") == 1


class TestLimits:
    def test_keys_are_asked_for_before_anything_is_read(self, serve, floats):
        with serve(api_keys="right") as (service, client, _):
            assert client.is_server_live()
            assert client.is_server_ready()
            for ask in (client.get_server_metadata, client.get_model_repository_index):
                with refused("UNAUTHENTICATED"):
                    ask()
                with refused("PERMISSION_DENIED"):
                    ask(headers={"authorization": "Bearer wrong"})
            with refused("UNAUTHENTICATED"):
                client.infer("tiny", [tensor(floats, "FP32")])
            for headers in ({"authorization": "Bearer right"}, {"x-api-key": "right"}):
                assert client.infer("tiny", [tensor(floats, "FP32")], headers=headers)
            rejections = service.registry.get_sample_value("goodcert_rejections_total", {"code": "key_missing"})
            assert rejections == 3

    def test_a_caller_cannot_say_how_the_body_is_framed(self, served, floats):
        _, client, _ = served
        plain = answers(client.infer("tiny", [tensor(floats, "FP32")]))
        headers = {"inference-header-content-length": "0", "content-encoding": "gzip", "content-length": "1"}
        assert answers(client.infer("tiny", [tensor(floats, "FP32")], headers=headers)) == plain

    def test_a_message_that_is_or_unfolds_too_large_is_refused(self, serve):
        images = np.zeros((200, *SHAPE), dtype=np.float32)
        assert len(gzip.compress(images.tobytes())) < 2000 < images.nbytes
        with serve(max_body_bytes=2000) as (service, client, _):
            for algorithm in (None, "gzip"):
                with refused("RESOURCE_EXHAUSTED"):
                    client.infer("tiny", [tensor(images, "FP32")], compression_algorithm=algorithm)
            assert service.engines[0].batches == []

    def test_other_calls_of_the_protocol_are_said_not_to_be_there(self, served):
        _, client, _ = served
        with refused("UNIMPLEMENTED"):
            client.get_inference_statistics()


class TestAdmission:
    """What every call passes first is what a request over HTTP does."""

    def test_the_access_log_names_a_call_by_its_method_and_path_and_the_callers_id(self, serve, floats, caplog):
        caplog.set_level("INFO", "goodcert.access")
        with serve(access_log=True) as (_, client, _):
            client.infer("tiny", [tensor(floats, "FP32")], headers={"x-request-id": "mine"})
            client.is_model_ready("tiny", "1")
            with refused("NOT_FOUND"):
                client.get_model_metadata("other")
        told = [record.fields for record in caplog.records if record.name == "goodcert.access"]
        assert [(line["method"], line["path"], line["status"]) for line in told] == [
            ("POST", "/v2/models/tiny/infer", 200),
            ("GET", "/v2/models/tiny/versions/1/ready", 200),
            ("GET", "/v2/models/other", 404),
        ]
        assert all(line["seconds"] > 0 for line in told)

    def test_a_key_needs_the_scope_of_the_call(self, serve, floats, tmp_path):
        reads = {"x-api-key": create(tmp_path / "keys.json", "reader", ["read"])}
        with serve(keys_file=tmp_path / "keys.json") as (service, client, _):
            assert client.get_server_metadata(headers=reads)
            with refused("PERMISSION_DENIED", "scopes"):
                client.infer("tiny", [tensor(floats, "FP32")], headers=reads)
            assert service.engines[0].batches == []

    def test_a_key_that_asks_too_often_is_told_when_to_come_back(self, serve):
        with serve(api_keys="right", key_requests_per_second=0.01) as (_, client, _):
            key = {"x-api-key": "right"}
            client.get_server_metadata(headers=key)
            with pytest.raises(InferenceServerException) as told:
                client.get_server_metadata(headers=key)
            assert told.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
            assert int(dict(told.value.__context__.trailing_metadata())["retry-after"]) > 90

    def test_a_process_that_ends_takes_no_call_but_says_how_it_is(self, served, floats):
        service, client, _ = served
        service.lifecycle.phase = LifecyclePhase.REFUSING
        with refused("UNAVAILABLE", "finishes"):
            client.infer("tiny", [tensor(floats, "FP32")])
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert service.metric("goodcert_rejections_total", code="shutting_down") == 2

    def test_refused_images_count_with_their_model(self, served, floats):
        service, client, _ = served
        with refused("INVALID_ARGUMENT"):
            client.infer("tiny", [encoded(b"no image")])
        with refused("NOT_FOUND"):
            client.infer("other", [tensor(floats, "FP32")])
        assert service.metric("goodcert_requests_total", model="tiny", code="400") == 1
        assert service.metric("goodcert_requests_total", model="unknown", code="404") == 1
        assert service.lifecycle.in_flight == 0

    def test_a_fault_of_ours_is_told_without_its_text_and_logged(self, served, caplog):
        service, client, _ = served
        del service.app.state.service.repository._models
        with refused("INTERNAL", "^(?!.*_models)"):
            client.get_model_metadata("tiny")
        assert "a request failed" in caplog.messages
        assert service.registry.get_sample_value("goodcert_rejections_total", {"code": "internal_error"}) == 1


def test_parameters_that_say_what_is_binary_mean_nothing(served, floats):
    _, client, address = served
    plain = client.infer("tiny", [tensor(floats, "FP32")]).get_response()
    request = service_pb2.ModelInferRequest(model_name="tiny", raw_input_contents=[floats.tobytes()])
    given = request.inputs.add(name="images", datatype="FP32", shape=floats.shape)
    request.parameters["binary_data_output"].bool_param = False
    given.parameters["binary_data_size"].int64_param = 1
    with grpc.insecure_channel(address) as channel:
        told = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert list(told.raw_output_contents) == list(plain.raw_output_contents)


def test_what_infer_requests_were_made_is_counted_with_those_of_http(served, floats):
    service, client, _ = served
    client.infer("tiny", [tensor(floats, "FP32")])
    (stats,) = service.client.get("/v2/models/stats").json()["model_stats"]
    assert (stats["inference_count"], stats["inference_stats"]["success"]["count"]) == (len(floats), 1)


def test_models_are_loaded_and_unloaded_where_that_is_allowed(serve):
    with serve(model_admin=True) as (_, client, _):
        client.unload_model("tiny", unload_dependents=True)
        with refused("NOT_FOUND"):
            client.is_model_ready("tiny")
        client.load_model("tiny")
        assert client.is_model_ready("tiny")
        for name in ("other", "tiny/x", ".."):
            with refused("NOT_FOUND"):
                client.load_model(name)
        with refused("INVALID_ARGUMENT", "cannot be sent"):
            client.load_model("tiny", config="{}")
