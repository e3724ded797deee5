"""What leaves the service: signed, recorded, and once for an idempotency key."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from goodcert.serve.core.errors import BadIdempotencyKey
from goodcert.serve.http import schemas
from goodcert.serve.proof import signing
from goodcert.serve.proof.idempotency import caller_of, once
from goodcert.serve.proof.signing import CERTIFICATE, create_key, key_set, verified

JOSE = {"Accept": "application/jose"}


@pytest.fixture
def keys(tmp_path):
    create_key(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def recording(start, url, keys):
    with start(ledger_url=url, signing_keys=keys) as service:
        yield service


def code(answer):
    return answer.status_code, answer.json().get("code")


def test_a_certificate_is_signed_where_that_is_asked_for(recording, png):
    keys = key_set(recording.client.get("/v1/keys").content)
    for options in ({"headers": JOSE}, {"params": {"signed": "true"}}):
        answer = recording.certify(png, **options)
        assert answer.headers["content-type"] == "application/jose"
        body = json.loads(verified(answer.text, keys, CERTIFICATE))
        schemas.CertificateBody.model_validate(body)
    assert recording.certify(png, headers=JOSE, params={"signed": "false"}).json()["model"]["name"] == "tiny"


def test_the_certificates_of_a_form_are_signed_one_by_one(recording, png):
    keys = key_set(recording.client.get("/v1/keys").content)
    answer = recording.certify_form([png, b"broken", png], params={"signed": "true"}).json()
    schemas.CertificatesBody.model_validate(answer)
    first, broken, last = answer["certificates"]
    assert broken["error"]["code"] == "not_an_image"
    bodies = [json.loads(verified(entry["jws"], keys, CERTIFICATE)) for entry in (first, last)]
    assert [recording.client.get(f"/v1/certificates/{body['id']}").json() for body in bodies] == bodies


def test_without_a_key_nothing_is_signed_and_that_is_said(service, png):
    assert service.client.get("/v1/keys").json() == {"keys": []}
    assert code(service.certify(png, headers=JOSE)) == (406, "signing_disabled")
    assert code(service.certify(png, params={"signed": "true"})) == (406, "signing_disabled")
    assert code(service.certify(png, params={"signed": "yes"})) == (422, "bad_signed")


def test_after_rotation_the_newest_key_signs_and_old_certificates_verify(start, keys, png, monkeypatch):
    monkeypatch.setattr(signing, "RECHECK_SECONDS", 0)
    with start(signing_keys=keys) as service:
        old = service.certify(png, headers=JOSE).text
        create_key(keys)
        published = key_set(service.client.get("/v1/keys").content)
        new = service.certify(png, headers=JOSE).text
    assert old.split(".")[0] != new.split(".")[0]
    assert all(verified(token, published, CERTIFICATE) for token in (old, new))


def test_every_certificate_is_in_the_ledger_to_the_byte(recording, png):
    answer = recording.certify(png)
    assert recording.client.get(f"/v1/certificates/{answer.json()['id']}").content == answer.content
    signed = recording.certify(png, headers=JOSE).text
    identity = json.loads(verified(signed, key_set(recording.client.get("/v1/keys").content), CERTIFICATE))["id"]
    assert recording.client.get(f"/v1/certificates/{identity}", headers=JOSE).text == signed
    for identity in ("none", "%00", "%ff", "a" * 5000):
        assert code(recording.client.get(f"/v1/certificates/{identity}")) == (404, "unknown_certificate")
    assert recording.metric("goodcert_ledger_recorded_total") == 2


def test_certificates_are_listed_in_pages_newest_first(recording, png):
    told = [recording.certify(png).json() for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = recording.client.get(
            "/v1/certificates", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        )
        schemas.PageBody.model_validate(page.json())
        seen += page.json()["certificates"]
        cursor = page.json()["next_cursor"]
        if cursor is None:
            break
    assert seen == told[::-1]


def test_certificates_are_found_by_model_verdict_and_time(recording, png, encode):
    told = [recording.certify(image).json() for image in (png, encode_flat(encode, 0), encode_flat(encode, 255))]

    def found(**params):
        return recording.client.get("/v1/certificates", params=params).json()["certificates"]

    for verdict in {body["verdict"] for body in told}:
        assert found(verdict=verdict) == [body for body in told[::-1] if body["verdict"] == verdict]
    assert found(since=told[1]["issued_at"]) == [told[2], told[1]]
    assert found(since="2001-01-01T00:00:00+02:00", model="tiny") == told[::-1]
    assert found(model="other") == []


def encode_flat(encode, value):
    import numpy as np

    return encode(np.full((4, 6), value, np.uint8))


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=-1",
        "verdict=good",
        "verdict=",
        "since=yesterday",
        "since=",
        "colour=red",
        "model=%00",
        "model=",
        "limit=1&limit=2",
    ],
)
def test_a_filter_that_is_none_is_refused(recording, query):
    assert code(recording.client.get(f"/v1/certificates?{query}")) == (422, "bad_filter")


def test_without_a_ledger_that_is_said(service, png):
    assert code(service.client.get("/v1/certificates/x")) == (404, "ledger_disabled")
    assert code(service.client.get("/v1/certificates")) == (404, "ledger_disabled")
    assert code(service.client.get("/v1/ledger/checkpoint")) == (404, "ledger_disabled")
    assert code(service.certify(png, headers={"Idempotency-Key": "k"})) == (422, "idempotency_unavailable")


def test_accepted_images_are_left_out_where_only_rejected_ones_are_wanted(start, url, tmp_path, write_model, png):
    write_model(tmp_path / "two", name="lax", threshold=0.0001)
    write_model(tmp_path / "two", name="strict", threshold=0.9999)
    with start(tmp_path / "two", ledger_url=url, ledger_records="not_in_distribution") as service:
        accepted = service.certify(png, path="/v1/models/lax/certify").json()
        rejected = service.certify(png, path="/v1/models/strict/certify").json()
        assert accepted["verdict"].startswith("in_distribution")
        assert service.client.get("/v1/certificates").json()["certificates"] == [rejected]


class TestIdempotency:
    def test_the_same_request_gets_the_same_bytes_and_one_certificate(self, recording, png):
        answers = [recording.certify(png, headers={"Idempotency-Key": "one"}) for _ in range(3)]
        assert len({answer.content for answer in answers}) == 1
        assert len(recording.client.get("/v1/certificates").json()["certificates"]) == 1
        assert recording.certify(png).content != answers[0].content

    def test_a_signed_answer_and_one_to_a_form_are_repeated_to_the_byte(self, recording, png):
        headers = {"Idempotency-Key": "one", **JOSE}
        first, second = (recording.certify(png, headers=headers) for _ in range(2))
        assert (first.content, first.headers["content-type"]) == (second.content, second.headers["content-type"])
        form = b'--X\r\nContent-Disposition: form-data; name="images"\r\n\r\n' + png + b"\r\n--X--\r\n"
        options = {"content_type": "multipart/form-data; boundary=X", "headers": {"Idempotency-Key": "two"}}
        assert recording.certify(form, **options).content == recording.certify(form, **options).content

    @pytest.mark.parametrize("change", ["body", "query", "path", "accept"])
    def test_another_request_with_the_key_is_refused(self, recording, png, encode, change):
        headers = {"Idempotency-Key": "one"}
        assert recording.certify(png, headers=headers).status_code == 200
        changed = {
            "body": lambda: recording.certify(encode_flat(encode, 9), headers=headers),
            "query": lambda: recording.certify(png, headers=headers, params={"epsilon": "0.2"}),
            "path": lambda: recording.certify(png, headers=headers, path="/v1/models/tiny/versions/1/certify"),
            "accept": lambda: recording.certify(png, headers=headers | JOSE),
        }
        assert code(changed[change]()) == (422, "idempotency_mismatch")

    def test_a_key_survives_a_restart(self, start, url, png):
        contents = []
        for _ in range(2):
            with start(ledger_url=url) as service:
                contents.append(service.certify(png, headers={"Idempotency-Key": "one"}).content)
        assert contents[0] == contents[1]

    def test_at_the_same_time_one_runs_and_all_get_its_answer(self, recording, png):
        engine = recording.engines[0]
        engine.entered.clear()
        engine.gate, ran = threading.Event(), len(engine.batches)
        with ThreadPoolExecutor(8) as callers:
            waiting = [
                callers.submit(recording.certify, png, headers={"Idempotency-Key": "one"}) for _ in range(8)
            ]
            assert engine.entered.wait(30)
            engine.gate.set()
            contents = {each.result(30).content for each in waiting}
        assert len(contents) == 1
        assert engine.batches[ran:] == [1]

    def test_a_refusal_is_not_kept(self, recording, png):
        assert code(recording.certify(b"broken", headers={"Idempotency-Key": "one"})) == (415, "not_an_image")
        assert recording.certify(png, headers={"Idempotency-Key": "one"}).status_code == 200

    def test_a_key_belongs_to_its_caller(self, start, url, png):
        with start(ledger_url=url, api_keys="alice,bob") as service:
            answers = [
                service.certify(png, headers={"Idempotency-Key": "one", "Authorization": f"Bearer {key}"})
                for key in ("alice", "bob", "alice")
            ]
        assert answers[0].content == answers[2].content != answers[1].content

    @pytest.mark.parametrize("key", ["", "k\u00e9y".encode(), "x" * 256, "two words"])
    def test_a_key_that_is_none_is_refused(self, recording, png, key):
        assert code(recording.certify(png, headers={"Idempotency-Key": key})) == (422, "bad_idempotency_key")

    def test_parts_of_a_request_cannot_be_mistaken_for_each_other(self):
        prints = [once(["k"], "", *parts).fingerprint for parts in ((b"ab", b"c"), (b"a", b"bc"), (b"abc", b""))]
        assert len(set(prints)) == 3

    def test_a_caller_is_told_apart_but_not_told(self):
        assert caller_of(None) == ""
        assert "secret" not in caller_of("Bearer secret") != caller_of("Bearer other")

    def test_several_keys_are_refused(self):
        with pytest.raises(BadIdempotencyKey):
            once(["one", "two"], "")
