"""Triggers through HTTP: what reaches the outbox, and when."""

import json
from base64 import b64decode

import pytest
from sqlalchemy import select

from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.tables import outbox
from serve.events.conftest import SECRET, receiving

RULE = {"name": "person", "secret": SECRET, "confidence_above": 0, "allow_private": True}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def triggered(start, url, free_port):
    """A service whose trigger calls nobody who listens, once; keywords change the rule."""

    def start_it(settings=(), **changes):
        rule = {**RULE, "url": f"http://127.0.0.1:{free_port}/", **changes}
        return start(ledger_url=url, triggers=[rule], trigger_retry_seconds=3600, **dict(settings))

    return start_it


def kept(url):
    """The payloads in the outbox, in no order."""
    engine = existing(url)
    with engine.begin() as connection:
        rows = connection.execute(select(outbox.c.payload)).scalars().all()
    engine.dispose()
    return [json.loads(payload)["data"] for payload in rows]


def test_a_webhook_is_received_and_its_certificate_is_the_one_that_was_answered(start, url, png, inbox):
    with receiving(inbox) as port:
        rule = {**RULE, "url": f"http://127.0.0.1:{port}/"}
        with start(ledger_url=url, triggers=[rule]) as service:
            told = service.certify(png).json()
            inbox.wait_for(1)
            assert service.metric("goodcert_triggers_raised_total", trigger="person") == 1
    (_, payload), *_ = inbox.got
    assert json.loads(payload)["data"]["certificate"] == told
    assert kept(url) == []


def test_every_way_in_raises_with_its_own_image(triggered, url, png, encode, pixels):
    other = encode(255 - pixels)
    with triggered(image=True) as service:
        service.certify(png)
        parts = service.certify_form([other, b"broken", png]).json()["certificates"]
        assert "error" in parts[1]
        service.certify(png, path="/v2/models/tiny/infer", headers={"Inference-Header-Content-Length": "0"})
    found = [(data["certificate"]["image"]["sha256"], b64decode(data["image"])) for data in kept(url)]
    from hashlib import sha256

    assert sorted(found) == sorted((sha256(image).hexdigest(), image) for image in (png, other, png, png))


def test_an_answer_from_an_idempotency_key_raises_nothing_again(triggered, url, png):
    with triggered() as service:
        for _ in range(3):
            assert service.certify(png, headers={"Idempotency-Key": "one"}).status_code == 200
    assert len(kept(url)) == 1


def test_what_the_ledger_does_not_record_can_still_raise(triggered, url, png):
    with triggered(settings={"ledger_records": "not_in_distribution"}.items(), confidence_above=0) as service:
        told = service.certify(png).json()
        found = service.client.get("/v1/certificates").json()["certificates"]
    assert [data["certificate"]["id"] for data in kept(url)] == [told["id"]]
    assert len(found) == (told["verdict"].startswith("out"))


def test_a_rule_that_is_not_met_raises_nothing_and_a_model_that_is_not_there_is_told(triggered, url, png, caplog):
    with triggered(model="other") as service:
        assert service.certify(png).status_code == 200
        assert service.metric("goodcert_triggers_raised_total", trigger="person") is None
    assert "trigger person: no model is called other so far" in caplog.text
    assert kept(url) == []


def test_what_is_raised_is_not_answered_where_it_cannot_be_kept(triggered, tmp_path, png):
    with triggered() as service:
        (tmp_path / "ledger.db").rename(tmp_path / "moved.db")
        assert service.certify(png).json()["code"] == "ledger_unavailable"


def test_what_is_served_although_it_cannot_be_kept_is_counted(triggered, tmp_path, png):
    with triggered(settings={"ledger_on_failure": "serve"}.items()) as service:
        (tmp_path / "ledger.db").rename(tmp_path / "moved.db")
        assert service.certify(png).status_code == 200
        assert service.metric("goodcert_triggers_lost_total", trigger="person") == 1
        assert service.metric("goodcert_ledger_lost_total") == 1


def test_the_outbox_shows_its_size_and_age(triggered, png, url):
    with triggered() as service:
        service.certify(png)
        shown = None
        while not shown:  # once the first attempt has failed
            shown = service.metric("goodcert_trigger_outbox_items", trigger="person")
        assert shown == 1
        assert service.metric("goodcert_trigger_outbox_oldest_seconds", trigger="person") >= 0


def test_without_triggers_nothing_of_them_is_imported(url):
    import subprocess
    import sys

    found = "[name for name in sys.modules if 'webhook' in name or 'serve.events' in name]"
    program = f"import sys, goodcert.serve.server.app; print({found})"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(told.stdout.replace("'", '"')) == []


def test_no_log_line_tells_secret_or_address(triggered, png, caplog, free_port):
    with triggered(settings={"log_format": "json"}.items()) as service:
        service.certify(png)
        while not service.metric("goodcert_triggers_failed_total", trigger="person"):
            pass
    assert "webhooks are not received: ConnectionRefusedError" in caplog.text
    assert SECRET not in caplog.text
    assert str(free_port) not in caplog.text
