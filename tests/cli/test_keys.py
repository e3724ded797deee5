"""`goodcert keys` from making a key to taking it away."""

import pytest

from goodcert.cli import main as cli
from goodcert.serve.admission.keys import KeysFile


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv("GOODCERT_KEYS_FILE", raising=False)
    return tmp_path / "keys.json"


def test_a_key_is_made_listed_and_revoked(file, capsys):
    assert cli.main(["keys", "--file", str(file), "create", "monitor", "--scopes", "certify, metrics"]) == 0
    key = capsys.readouterr().out.strip()
    assert key.startswith("gck_")
    assert cli.main(["keys", "--file", str(file), "list"]) == 0
    listed = capsys.readouterr().out
    assert "monitor  certify,metrics  for ever" in listed
    assert key not in listed
    assert cli.main(["keys", "--file", str(file), "revoke", "monitor"]) == 0
    assert KeysFile.read(file).keys == ()


def test_the_file_is_that_of_the_settings(file, monkeypatch, capsys):
    monkeypatch.setenv("GOODCERT_KEYS_FILE", str(file))
    assert cli.main(["keys", "create", "a", "--expires", "90d", "--requests-per-second", "2"]) == 0
    assert cli.main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert "a  certify,read  until 2" in listed
    assert "2 requests a second" in listed


def test_an_expired_key_says_so(file, capsys):
    cli.main(["keys", "--file", str(file), "create", "a", "--expires", "2001-01-31"])
    cli.main(["keys", "--file", str(file), "list"])
    assert "until 2001-01-31 00:00 UTC (expired)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (["list"], "expected --file or the setting keys_file"),
        (["--file", "{file}", "list"], "cannot be read"),
        (["--file", "{file}", "revoke", "a"], "expected one of the file's: none"),
        (["--file", "{file}", "create", "a", "--scopes", "all"], "scopes: got"),
        (["--file", "{file}/x/y", "create", "a"], "nothing can be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(file, capsys, action, told):
    assert cli.main(["keys", *(word.format(file=file) for word in action)]) == 1
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("when", ["soon", "2030-13-01", "d", "-1d"])
def test_an_end_that_is_no_date_is_wrong_usage(file, when):
    with pytest.raises(SystemExit) as left:
        cli.main(["keys", "--file", str(file), "create", "a", f"--expires={when}"])
    assert left.value.code == 2
    assert not file.exists()
