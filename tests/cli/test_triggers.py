"""`goodcert triggers`: what a person is told, and what it changes."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from standardwebhooks import Webhook

from goodcert.cli import main as cli
from goodcert.serve.core.event import event
from goodcert.serve.ledger.database import connect, migrate
from goodcert.serve.ledger.outbox import End, Outbox, put
from serve.events.conftest import SECRET

CONFIG = """
ledger_url = "{url}"
[[triggers]]
name = "person"
url = "https://example.org/"
secret = "{secret}"
verdicts = ["out_of_distribution"]
"""


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    """Three letters of `person`, two of them dead, and one of `gone`, which no setting knows."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    (tmp_path / "goodcert.toml").write_text(CONFIG.format(url=url, secret=SECRET))
    monkeypatch.setenv("GOODCERT_CONFIG", str(tmp_path / "goodcert.toml"))
    writes = connect(url, writes=True)
    migrate(writes)
    with writes.begin() as connection:
        put(connection, [event("certificate.matched", name, {}, None) for name in ["person"] * 3 + ["gone"]])
    outbox = Outbox(writes, connect(url))
    now = datetime.now(UTC) + timedelta(seconds=1)
    outbox.settle(End(letter, reason="500") for letter in outbox.take("person", now, timedelta(hours=1), 2))
    yield outbox
    outbox.close()


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["triggers", *words]) == 0
    return capsys.readouterr().out


def test_the_list_shows_what_waits_what_is_dead_and_what_is_unknown(
    outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox.disable("person", datetime.now(UTC))
    gone, person = said(capsys, "list").splitlines()
    assert re.fullmatch(r"gone  1 waiting since \S+Z  0 dead  not in the settings", gone)
    assert re.fullmatch(r"person  1 waiting since \S+Z  2 dead  disabled by 410", person)


def test_dead_letters_are_shown_and_sent_again_one_or_all(
    outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox.disable("person", datetime.now(UTC))
    lines = said(capsys, "dead").splitlines()
    ids = [line.split("  ")[0] for line in lines]
    assert len(ids) == 2
    assert all("person" in line and "500" in line for line in lines)
    assert said(capsys, "resend", ids[1]) == "1 webhooks are due again\n"
    assert not outbox.is_disabled("person")
    assert said(capsys, "resend", "--trigger", "gone") == "0 webhooks are due again\n"
    assert said(capsys, "resend") == "1 webhooks are due again\n"
    assert said(capsys, "dead") == ""
    assert outbox.waiting("person").letters == 3


def test_dead_letters_are_dropped(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "drop", "--trigger", "person") == "2 webhooks forgotten\n"
    assert outbox.waiting("person").letters == 1


def test_what_cannot_be_done_is_said(
    outbox: Outbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cli.main(["triggers", "resend", "msg_none"]) == 2
    assert "1 of the ids" in capsys.readouterr().err
    assert cli.main(["triggers", "listen", "--secret-file", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    monkeypatch.delenv("GOODCERT_CONFIG")
    assert cli.main(["triggers", "list"]) == 2
    assert "ledger_url" in capsys.readouterr().err


def test_the_receiver_prints_what_is_genuine_and_refuses_the_rest(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    command = [sys.executable, "-m", "goodcert.cli.main", "triggers", "listen", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "--secret-file", str(tmp_path / "secret")], **pipes) as process:  # type: ignore[call-overload]
        try:
            address = process.stderr.readline().split()[-1]
            body, now = '{"type": "certificate.matched"}', datetime.now(UTC)
            headers = {
                "webhook-id": "msg_1",
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": Webhook(SECRET).sign("msg_1", now, body),
            }
            answers = [
                httpx.post(address, content=body, headers=headers).status_code,
                httpx.post(address, content=body + " ", headers=headers).status_code,
                httpx.post(address, content=body, headers=headers | {"webhook-signature": "v1"}).status_code,
                httpx.post(address, content=body).status_code,
                httpx.post(address, content=body, headers=headers).status_code,
            ]
            lines = [json.loads(process.stdout.readline()) for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert answers == [204, 401, 401, 401, 204]
    assert [(line["id"], line["again"]) for line in lines] == [("msg_1", False), ("msg_1", True)]
    assert lines[0]["message"] == json.loads(body)
