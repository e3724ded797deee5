"""The file of API keys: what is kept of a key, what is refused, and that nobody reads half of it."""

import json
import multiprocessing
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from goodcert.serve.admission.keys import KeysFile, KeysFileError, create, revoke


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def test_a_key_is_returned_once_and_the_file_has_its_hash_only(path):
    key = create(path, "monitor", ["certify"])
    (kept,) = KeysFile.read(path).keys
    assert kept.sha256 == sha256(key.encode()).hexdigest()
    assert key not in path.read_text()
    assert (kept.name, kept.scopes, kept.expires) == ("monitor", {"certify"}, None)


def test_no_two_keys_are_the_same_and_each_has_256_bits(path):
    keys = {create(path, f"key-{i}", ["read"]) for i in range(20)}
    assert len(keys) == 20
    assert all(len(key) == len("gck_") + 43 for key in keys)


def test_the_limits_and_the_end_are_kept(path):
    end = datetime(2031, 2, 3, tzinfo=UTC)
    create(path, "a", ["certify", "read"], expires=end, requests_per_second=2.5, concurrency=3)
    (kept,) = KeysFile.read(path).keys
    assert (kept.expires, kept.requests_per_second, kept.concurrency) == (end, 2.5, 3)


def test_a_new_file_is_its_owners_and_an_old_one_keeps_its_mode(path):
    create(path, "a", ["read"])
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    create(path, "b", ["read"])
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_revoked_key_is_gone_and_the_others_stay(path):
    for name in ("a", "b", "c"):
        create(path, name, ["read"])
    revoke(path, "b")
    assert [key.name for key in KeysFile.read(path).keys] == ["a", "c"]


def test_a_name_is_taken_once(path):
    create(path, "a", ["read"])
    with pytest.raises(KeysFileError, match="revoke it first"):
        create(path, "a", ["certify"])


def test_an_unknown_name_cannot_be_revoked(path):
    create(path, "a", ["read"])
    with pytest.raises(KeysFileError, match="got b, expected one of the file's: a"):
        revoke(path, "b")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "two words"},
        {"name": ""},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"requests_per_second": 0.0},
        {"requests_per_second": float("nan")},
        {"concurrency": 0},
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_file(path, change):
    with pytest.raises(KeysFileError, match=next(iter(change))):
        create(path, **{"name": "a", "scopes": ["read"], **change})
    assert not path.exists()


KEY = {"name": "a", "sha256": "0" * 64, "scopes": ["read"], "created": "2030-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"keys": [], "other": 1}',
        json.dumps({"keys": [KEY | {"secret": "x"}]}),
        json.dumps({"keys": [KEY | {"scopes": ["all"]}]}),
        json.dumps({"keys": [KEY | {"sha256": "0" * 63}]}),
        json.dumps({"keys": [KEY | {"created": "2030-01-01T00:00:00"}]}),
        json.dumps({"keys": [KEY, KEY | {"name": "b"}]}),
        json.dumps({"keys": [KEY, KEY | {"sha256": "1" * 64}]}),
    ],
)
def test_a_file_of_another_form_is_refused(path, content):
    path.write_text(content)
    with pytest.raises(KeysFileError, match=r"keys_file: got .*keys\.json"):
        KeysFile.read(path)


def test_a_file_that_is_not_there_is_refused(path):
    with pytest.raises(KeysFileError, match="cannot be read"):
        KeysFile.read(path)


def test_programs_that_write_at_once_take_turns(path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(create, [(path, f"key-{i}", ["read"]) for i in range(24)])
    assert len(KeysFile.read(path).keys) == 24
    assert {file.name for file in path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}
