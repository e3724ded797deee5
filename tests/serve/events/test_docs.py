"""The example of docs/triggers.md, tried."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from goodcert.serve.settings.settings import load
from serve.events.conftest import SECRET, receiving

PAGE = (Path(__file__).parents[3] / "docs" / "triggers.md").read_text(encoding="utf-8")


def block(kind):
    (found,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The settings of the page, from a file in the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("person", "camera"):
        Path(f"{name}.secret").write_text(SECRET)
    Path("goodcert.toml").write_text(block("toml"))
    return load(config="goodcert.toml")


def test_the_settings_are_read(example):
    assert [trigger.name for trigger in example.triggers] == ["person", "camera"]
    assert [trigger["name"] for trigger in tomllib.loads(block("toml"))["triggers"]] == ["person", "camera"]


def test_the_body_is_what_is_sent(example, start, tmp_path, png, write_model, inbox):
    write_model(tmp_path / "models", name="mnist-good100", threshold=0.99)
    shown = json.loads(block("json"))
    with receiving(inbox) as port:
        rule = example.triggers[0].model_dump() | {
            "url": f"http://127.0.0.1:{port}/",
            "secret_file": "person.secret",
        }
        with start(models=tmp_path / "models", ledger_url="sqlite:///ledger.db", triggers=[rule]) as service:
            path = "/v1/models/mnist-good100/certify?epsilon=1"
            told = service.certify(png, path=path).json()
            assert told["verdict"] == shown["data"]["certificate"]["verdict"]
            inbox.wait_for(1)
    sent = json.loads(inbox.got[0][1])
    assert sent.keys() == shown.keys()
    assert sent["type"] == shown["type"]
    assert sent["data"].keys() == shown["data"].keys()
    assert sent["data"]["certificate"] == told
    assert sent["data"]["image"][:11] == shown["data"]["image"][:11]


def test_every_key_of_a_trigger_is_on_the_page(example):
    for name in type(example.triggers[0]).model_fields:
        assert f"`{name}`" in PAGE
