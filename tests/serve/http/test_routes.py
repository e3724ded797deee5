"""The service over a real socket: what callers send, what they get, and that it goes on."""

import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice

import numpy as np
import pytest

from goodcert.serve.http import schemas

PROBLEM = "application/problem+json"


def lying_png(width, height):
    """A PNG that announces a size and holds nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def assert_problem(answer, status, code):
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    body = schemas.ProblemBody.model_validate(answer.json())
    assert (body.status, body.code) == (status, code)


def asked(answer):
    """What two answers for the same image have in common."""
    return {name: value for name, value in answer.items() if name not in ("id", "issued_at")}


class TestGoodRequests:
    def test_an_image_is_answered_with_a_certificate_of_the_documented_form(self, service, png):
        answer = service.certify(png)
        assert answer.status_code == 200
        body = answer.json()
        schemas.CertificateBody.model_validate(body)
        assert body["confidence_lower_bound"] <= body["confidence"] <= body["confidence_upper_bound"]
        assert (body["scope"], body["epsilon"], body["method"]) == ("upload", 0.01, "ibp")

    def test_epsilon_is_told_as_it_was_given(self, service, png):
        assert service.certify(png, params={"epsilon": "0.3"}).json()["epsilon"] == 0.3

    def test_a_wider_ball_never_has_a_tighter_bound(self, service, png):
        uppers = [
            service.certify(png, params={"epsilon": text}).json()["confidence_upper_bound"]
            for text in ("0", "0.01", "0.05", "0.2", "1")
        ]
        assert uppers == sorted(uppers)

    @pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/octet-stream"])
    def test_the_bytes_decide_the_format_and_not_the_header(self, service, png, content_type):
        assert service.certify(png, content_type=content_type).json()["image"]["format"] == "PNG"

    def test_a_version_can_be_named(self, service, png):
        answer = service.certify(png, path="/v1/models/tiny/versions/1/certify")
        assert answer.json()["model"]["version"] == "1"

    def test_a_form_is_answered_in_order(self, service, encode):
        images = [encode(np.full((4, 6), value, np.uint8)) for value in range(0, 256, 2)]
        entries = service.certify_form(images).json()["certificates"]
        alone = [service.certify(image).json() for image in images[:5]]
        assert len(entries) == len(images)
        assert list(map(asked, entries[:5])) == list(map(asked, alone))

    @pytest.mark.parametrize("limit", [{"max_queue_items": 2}, {"max_queue_bytes": 1}])
    def test_a_form_larger_than_the_queue_does_not_crowd_itself_out(self, start, png, limit):
        with start(**limit) as service:
            entries = service.certify_form([png] * 20).json()["certificates"]
            assert [entry.get("error") for entry in entries] == [None] * 20

    def test_one_broken_part_costs_the_others_nothing(self, service, png):
        entries = service.certify_form([png, b"broken", png[:50], b"", png]).json()["certificates"]
        codes = [entry.get("error", {}).get("code") for entry in entries]
        assert codes == [None, "not_an_image", "not_an_image", "not_an_image", None]
        assert asked(entries[0]) == asked(entries[4])
        schemas.CertificatesBody.model_validate({"certificates": entries})

    def test_an_image_gets_the_same_answer_at_any_load(self, service, png):
        alone = asked(service.certify(png).json())
        with ThreadPoolExecutor(16) as callers:
            answers = list(callers.map(lambda _: asked(service.certify(png).json()), range(64)))
        assert answers == [alone] * 64


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"this is no image", 415, "not_an_image"),
            (lying_png(6, 4), 415, "not_an_image"),
            (lying_png(10_000, 10_000), 413, "too_many_pixels"),
            (lying_png(100_000, 100_000), 413, "too_many_pixels"),
            (b"", 400, "empty_body"),
        ],
    )
    def test_a_bad_body_is_refused_by_its_code(self, service, png, body, status, code):
        assert_problem(service.certify(body), status, code)
        assert service.certify(png).status_code == 200

    def test_a_truncated_image_is_refused(self, service, png):
        assert_problem(service.certify(png[: len(png) // 2]), 415, "not_an_image")

    def test_a_wrong_size_is_refused(self, service, encode):
        assert_problem(service.certify(encode(np.zeros((5, 6), np.uint8))), 422, "wrong_size")

    @pytest.mark.parametrize("text", ["NaN", "-0.1", "2", "0,3", "\u0660.\u0663", "1e-3", "", "inf"])
    def test_an_epsilon_that_cannot_be_is_refused(self, service, png, text):
        assert_problem(service.certify(png, params={"epsilon": text}), 422, "bad_epsilon")

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ("epsilon=0.1&epsilon=0.2", "repeated_parameter"),
            ("eps=0.1", "unknown_parameter"),
            ("radius=yes", "bad_radius"),
            ("radius=true&radius=true", "repeated_parameter"),
            ("method=alpha", "method_not_offered"),
        ],
    )
    def test_a_query_that_cannot_be_meant_is_refused(self, service, png, query, code):
        assert_problem(service.certify(png, path=f"/v1/models/tiny/certify?{query}"), 422, code)

    @pytest.mark.parametrize("path", ["/v1/models/other/certify", "/v1/models/tiny/versions/2/certify"])
    def test_an_unknown_model_is_refused(self, service, png, path):
        assert_problem(service.certify(png, path=path), 404, "unknown_model")

    @pytest.mark.parametrize("content_type", ["text/html", "image/gif", ""])
    def test_another_media_type_is_refused(self, service, png, content_type):
        assert_problem(service.certify(png, content_type=content_type), 415, "unsupported_media_type")

    def test_a_form_that_is_none_is_refused(self, service, png):
        content_type = "multipart/form-data; boundary=XX"
        assert_problem(service.certify(png, content_type=content_type), 400, "malformed_multipart")
        assert_problem(service.certify_form([png], name="image"), 422, "unknown_part")

    def test_neighbours_of_bad_requests_are_answered(self, service, png):
        bodies = [png, b"junk", png[:30], lying_png(10_000, 10_000), png, b""] * 10
        with ThreadPoolExecutor(16) as callers:
            statuses = list(callers.map(lambda body: service.certify(body).status_code, bodies))
        assert statuses == [200, 415, 415, 413, 200, 400] * 10

    def test_the_frameworks_own_errors_are_problems_too(self, service):
        assert_problem(service.client.get("/nothing"), 404, "not_found")
        refused = service.client.get("/v1/models/tiny/certify")
        assert_problem(refused, 405, "method_not_allowed")
        assert refused.headers["Allow"] == "POST"


class TestSize:
    def test_an_announced_body_that_is_too_large_is_refused(self, start, png):
        with start(max_body_bytes=len(png)) as service:
            assert service.certify(png).status_code == 200
            assert_problem(service.certify(png + b"x"), 413, "body_too_large")

    def test_a_streamed_body_that_grows_too_large_is_refused(self, start, png):
        def chunks():
            for _ in range(100):
                yield b"x" * 1000

        with start(max_body_bytes=10_000) as service:
            assert_problem(service.certify(chunks()), 413, "body_too_large")
            assert service.certify(iter([png[:9], png[9:]])).status_code == 200

    def test_two_framings_are_refused(self, service):
        head = (
            "POST /v1/models/tiny/certify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert exchange(service.port, head.encode()).startswith(b"HTTP/1.1 400 ")

    def test_a_body_that_does_not_come_is_given_up(self, start):
        head = (
            "POST /v1/models/tiny/certify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
            "Content-Length: 3\r\nConnection: close\r\n\r\n"
        )
        with start(request_timeout_ms=50) as service:
            assert b"body_too_slow" in exchange(service.port, head.encode())

    def test_a_caller_that_goes_away_is_no_fault_of_the_service(self, service, png):
        head = (
            b"POST /v1/models/tiny/certify HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: image/png\r\nContent-Length: 99\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head + b"x")
        assert service.certify(png).status_code == 200


def exchange(port, data):
    """Everything the server says to `data` until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


class TestKeys:
    @pytest.fixture
    def guarded(self, start):
        with start(api_keys="right") as running:
            yield running

    def test_a_key_is_needed_and_enough(self, guarded, png):
        refused = guarded.certify(png)
        assert_problem(refused, 401, "key_missing")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert_problem(guarded.certify(png, headers={"X-API-Key": "wrong"}), 403, "key_wrong")
        assert guarded.certify(png, headers={"Authorization": "Bearer right"}).status_code == 200

    def test_metrics_need_it_too_and_health_does_not(self, guarded):
        assert guarded.client.get("/metrics").status_code == 401
        assert guarded.client.get("/metrics", headers={"X-API-Key": "right"}).status_code == 200
        assert guarded.client.get("/health/ready").status_code == 200


class TestOverload:
    def test_a_full_queue_refuses_before_decoding_and_those_inside_are_answered(self, start, png):
        with start(max_queue_items=2, max_batch=1) as service, ThreadPoolExecutor(8) as callers:
            engine = service.engines[0]
            engine.gate.clear()
            first = callers.submit(service.certify, png)
            assert engine.entered.wait(30)
            others = [callers.submit(service.certify, png) for _ in range(6)]
            # One runs, two wait; while the engine is held, nobody else can be answered.
            refused = [done.result() for done in islice(as_completed(others, 30), 4)]
            undecoded = service.certify(b"not an image")
            engine.gate.set()
            for answer in (*refused, undecoded):
                assert_problem(answer, 503, "queue_full")
                assert int(answer.headers["Retry-After"]) >= 1
            statuses = sorted(future.result(30).status_code for future in (first, *others))
            assert statuses == [200] * 3 + [503] * 4

    def test_past_the_deadline_the_answer_is_504(self, start, png):
        with start(request_timeout_ms=100) as service, ThreadPoolExecutor(1) as callers:
            engine = service.engines[0]
            engine.gate.clear()
            running = callers.submit(service.certify, png)
            assert engine.entered.wait(30)
            assert_problem(service.certify(png), 504, "deadline_exceeded")
            engine.gate.set()
            assert_problem(running.result(30), 504, "deadline_exceeded")
            assert service.certify(png).status_code == 200


class TestEngineFaults:
    def test_an_engine_that_raises_is_a_500_without_its_text(self, service, png):
        service.engines[0].fail = True
        answer = service.certify(png)
        assert_problem(answer, 500, "engine_failed")
        assert "secret" not in answer.text
        service.engines[0].fail = False
        assert service.certify(png).status_code == 200

    def test_an_unsound_engine_is_taken_out_of_ready(self, service, png):
        service.engines[0].break_guarantee = True
        assert_problem(service.certify(png), 500, "engine_unsound")
        assert_problem(service.client.get("/health/ready"), 503, "not_ready")
        assert_problem(service.certify(png), 503, "model_unsound")
        assert service.client.get("/v1/models").json()["models"][0]["state"] == "unsound"
        assert service.client.get("/health/live").status_code == 200
        assert service.metric("goodcert_model_ready", model="tiny", version="1") == 0


class TestModels:
    def test_the_list_has_served_and_refused_models(self, start, tmp_path, write_model, make_graph):
        root = tmp_path / "several"
        write_model(root, "good", "1")
        write_model(root, "good", "2")
        write_model(root, "bad", graph=make_graph(name="refuse"))
        with start(models=root) as service:
            body = service.client.get("/v1/models").json()
            schemas.ModelsBody.model_validate(body)
            states = {(m["name"], m["version"]): (m["state"], m["default"]) for m in body["models"]}
            assert states == {
                ("good", "2"): ("ready", True),
                ("good", "1"): ("ready", False),
                ("bad", "1"): ("refused", False),
            }
            assert "Loop" in body["models"][-1]["reason"]
            assert service.client.get("/health/ready").status_code == 200

    def test_the_card_has_the_recipe_and_the_results(self, service):
        card = service.client.get("/v1/models/tiny").json()
        schemas.CardBody.model_validate(card)
        assert (card["recipe"], card["results"], card["epsilon"]) == ({"seed": 1}, {"accuracy": 0.99}, "0.01")
        assert_problem(service.client.get("/v1/models/other"), 404, "unknown_model")

    def test_without_a_model_the_service_lives_but_is_not_ready(self, start, tmp_path):
        (tmp_path / "none").mkdir()
        with start(models=tmp_path / "none") as service:
            assert service.client.get("/health/live").json() == {"status": "live"}
            assert_problem(service.client.get("/health/ready"), 503, "not_ready")


class TestMetrics:
    def test_requests_are_counted_by_model_and_status(self, service, png):
        service.certify(png)
        service.certify(b"junk")
        service.certify(png, path="/v1/models/made-up-name/certify")
        assert service.metric("goodcert_requests_total", model="tiny", code="200") == 1
        assert service.metric("goodcert_requests_total", model="tiny", code="415") == 1
        assert service.metric("goodcert_requests_total", model="unknown", code="404") == 1
        assert service.metric("goodcert_rejections_total", code="not_an_image") == 1
        assert "made-up-name" not in service.client.get("/metrics").text

    def test_the_page_says_what_is_served(self, service):
        text = service.client.get("/metrics").text
        assert 'goodcert_queue_items{model="tiny"} 0.0' in text
        assert 'goodcert_model_info{method="GOOD_100",model="tiny"' in text
        assert "goodcert_build_info{" in text


class TestMethods:
    def test_crown_says_so_and_certifies_more(self, service, png):
        service.engines[0].slack = 1.0
        ibp = service.certify(png).json()
        crown = service.certify(png, params={"method": "crown"}).json()
        assert (ibp["method"], crown["method"]) == ("ibp", "crown")
        assert crown["confidence_upper_bound"] < ibp["confidence_upper_bound"]
        assert crown["confidence"] == ibp["confidence"]

    def test_the_card_lists_the_methods(self, service):
        assert service.client.get("/v1/models/tiny").json()["bound_methods"] == ["ibp", "crown", "auto"]

    def test_the_certified_radius_is_null_unless_asked_for(self, service, png):
        assert service.certify(png).json()["certified_radius"] is None
        assert service.certify(png, params={"radius": "false"}).json()["certified_radius"] is None

    def test_every_image_of_a_form_gets_its_radius(self, service, png):
        bodies = service.certify_form([png] * 9, params={"radius": "true"}).json()["certificates"]
        alone = service.certify(png, params={"radius": "true"}).json()["certified_radius"]
        assert [body["certified_radius"] for body in bodies] == [alone] * 9

    def test_a_slow_crown_does_not_hold_up_ibp(self, service, png):
        engine = service.engines[0]
        engine.crown_gate.clear()
        with ThreadPoolExecutor(1) as thread:
            slow = thread.submit(service.certify, png, params={"method": "crown"})
            assert engine.crown_entered.wait(30)
            assert service.certify(png).json()["method"] == "ibp"
            engine.crown_gate.set()
            assert slow.result(30).json()["method"] == "crown"

    def test_auto_answers_with_ibp_where_crown_takes_more_than_half_of_the_time(
        self, start, png, tmp_path, write_model
    ):
        write_model(tmp_path / "models", threshold=0.999)
        with start(request_timeout_ms=1000) as service:
            engine = service.engines[0]
            engine.slack, engine.crown_gate = 10.0, threading.Event()
            answer = service.certify(png, params={"method": "auto"}).json()
            engine.crown_gate.set()
            assert engine.crown_batches == [1]
            assert (answer["method"], answer["verdict"]) == ("ibp", "out_of_distribution")
            assert service.metric("goodcert_crown_missed_total") == 1

    def test_crown_on_a_model_without_linear_bounds_is_refused_and_auto_is_not(self, start, png, fake_compile):
        fake_compile.methods = ("ibp",)
        with start() as service:
            assert_problem(service.certify(png, params={"method": "crown"}), 422, "crown_unavailable")
            assert service.certify(png, params={"method": "auto"}).json()["method"] == "ibp"
            assert service.client.get("/v1/models/tiny").json()["bound_methods"] == ["ibp", "auto"]


class TestDocumentation:
    def test_openapi_tells_the_bodies_and_the_query(self, service):
        paths = service.client.get("/openapi.json").json()["paths"]
        post = paths["/v1/models/{model}/certify"]["post"]
        assert "multipart/form-data" in post["requestBody"]["content"]
        assert "image/png" in post["requestBody"]["content"]
        names = [
            "model",
            "epsilon",
            "method",
            "radius",
            "signed",
            "X-Request-Timeout-Ms",
            "X-Priority",
            "Idempotency-Key",
        ]
        assert [parameter["name"] for parameter in post["parameters"]] == names
        assert "application/problem+json" in post["responses"]["default"]["content"]

    def test_openapi_tells_the_protocol_and_its_own_errors(self, service):
        document = service.client.get("/openapi.json").json()
        post = document["paths"]["/v2/models/{model}/infer"]["post"]
        assert set(post["requestBody"]["content"]) == {"application/json", "application/octet-stream"}
        assert set(post["responses"]["200"]["content"]) == {"application/json", "application/octet-stream"}
        refused = post["responses"]["default"]["content"]["application/json"]["schema"]["$ref"]
        assert refused == "#/components/schemas/ProtocolError"
        assert list(document["components"]["schemas"]["ProtocolError"]["properties"]) == ["error"]

    def test_every_path_in_openapi_is_there(self, service):
        """With the method that it says, whatever else is missing."""
        for path, methods in service.client.get("/openapi.json").json()["paths"].items():
            for method in methods:
                answer = service.client.request(method, path.format(model="tiny", version="1", id="x"))
                assert answer.status_code != 405, path
                told = answer.json() if answer.status_code == 404 else {}
                assert told.get("code", "") != "not_found", path
                assert "There is nothing at this path" not in told.get("error", ""), path

    def test_the_documentation_page_is_there(self, service):
        assert service.client.get("/docs").status_code == 200
