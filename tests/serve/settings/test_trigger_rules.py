"""Triggers in the settings: read whole, or refused with a reason that tells no secret."""

import os

import pytest
from pydantic import ValidationError

from goodcert.serve.settings.settings import SettingsError, load
from serve.events.conftest import OTHER, SECRET, trigger

RULE = {"name": "person", "url": "https://example.org/hook", "secret": SECRET, "verdicts": ["out_of_distribution"]}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("GOODCERT_")]:
        monkeypatch.delenv(name)


def loaded(*changes):
    return load(ledger_url="sqlite:///ledger.db", triggers=[RULE | change for change in changes]).triggers


def test_a_table_of_the_file_is_a_trigger(tmp_path):
    (tmp_path / "secret").write_text(f"{SECRET}\n{OTHER}\n")
    (tmp_path / "goodcert.toml").write_text(f"""
ledger_url = "sqlite:///ledger.db"
[[triggers]]
name = "shift"
url = "https://example.org/hook?who=me"
secret_file = "{tmp_path / "secret"}"
rejected_share_above = 0.5
window_images = 100
""")
    (read,) = load(config=tmp_path / "goodcert.toml").triggers
    assert (read.name, read.rejected_share_above, read.window_images) == ("shift", 0.5, 100)
    assert read.secrets() == (SECRET, OTHER)


def test_triggers_without_a_ledger_are_refused():
    with pytest.raises(SettingsError, match=r"triggers: got 1 without ledger_url.*set ledger_url"):
        load(triggers=[RULE])


def test_triggers_are_frozen():
    with pytest.raises(ValidationError):
        loaded({})[0].name = "other"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": ["out_of_distribution"]}, r"triggers\.0\.verdict: there is no such setting"),
        ({"verdicts": ["bad"]}, r"triggers\.0\.verdicts\.0"),
        ({"verdicts": []}, "expected conditions for one image"),
        ({"rejected_share_above": 0.5, "window_images": 5}, "and not both"),
        ({"window_images": 5}, "rejected_share_above needs"),
        ({"verdicts": [], "rejected_share_above": 0.5}, "window_images or window_seconds"),
        ({"verdicts": [], "rejected_share_above": 0.5, "window_images": 5, "window_seconds": 5}, "one of them"),
        ({"confidence_above": 1}, r"confidence_above"),
        ({"confidence_above": "nan"}, r"confidence_above"),
        ({"name": "Two Words"}, r"triggers\.0\.name"),
        ({"secret": None}, "secret or secret_file"),
        ({"secret": "whsec_c2hvcnQ="}, "24 to 64 bytes"),
        ({"secret": SECRET.removeprefix("whsec_")}, "whsec_"),
        ({"secret": "whsec_???"}, "base64"),
        ({"secret_file": "/nowhere"}, "secret_file"),
        ({"url": "ftp://example.org"}, r"triggers\.0\.url"),
        ({"url": "https://user:password@example.org"}, "without user"),
        ({"url": "http://example.org"}, "https"),
        ({"url": "https://localhost/"}, "public"),
        ({"url": "https://127.0.0.1/"}, "public"),
        ({"url": "https://2130706433/"}, "public"),
        ({"url": "https://0x7f.1/"}, "public"),
        ({"url": "https://[::1]/"}, "public"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "public"),
        ({"url": "https://169.254.169.254/"}, "public"),
    ],
)
def test_a_trigger_that_cannot_be_is_refused_and_its_secret_not_told(change, said):
    with pytest.raises(SettingsError, match=said) as refused:
        loaded(change)
    assert SECRET not in str(refused.value)
    assert "c2hvcnQ" not in str(refused.value)


def test_two_of_one_name_are_refused():
    with pytest.raises(SettingsError, match="a name of its own"):
        loaded({}, {})


def test_inner_addresses_and_http_are_taken_where_that_is_allowed():
    assert trigger(url="http://127.0.0.1:9000/x").url.port == 9000


def test_no_secret_is_shown():
    assert SECRET not in repr(loaded({}))
