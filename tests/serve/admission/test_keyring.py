"""Keys in use: who is let in, how often, and that a change of the file is noticed."""

import hmac
import logging
from datetime import UTC, datetime

import pytest

from goodcert.serve.admission.keyring import RECHECK_SECONDS, Allowance, Bucket, Holder, Keyring
from goodcert.serve.admission.keys import SCOPES, KeysFileError, create, digest_of, revoke
from goodcert.serve.core.errors import KeyBusy, KeyExpired, RateLimited

NOW = 1000.0
LATER = NOW + RECHECK_SECONDS


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def ring(plain=(), file=None, **allowance):
    return Keyring(plain, file, Allowance(**allowance), clock=lambda: NOW)


def holder(**allowance):
    return Holder("a", b"", ["certify"], Allowance(**allowance))


class TestFinding:
    def test_keys_of_the_settings_have_every_scope(self):
        assert ring(["right"]).find(b"right", NOW).scopes == set(SCOPES)

    def test_keys_of_the_file_have_their_own(self, path):
        key = create(path, "monitor", ["certify"])
        found = ring(file=path).find(key.encode(), NOW)
        assert (found.name, found.scopes) == ("monitor", {"certify"})

    @pytest.mark.parametrize("key", [b"", b"wrong", b"righ", b"right ", b"\xff\x00", b"x" * 10**6])
    def test_any_other_key_is_nobodys(self, path, key):
        create(path, "a", ["read"])
        assert ring(["right"], path).find(key, NOW) is None

    def test_the_hash_in_the_file_opens_nothing(self, path):
        key = create(path, "a", ["read"])
        stolen = digest_of(key.encode())
        assert ring(file=path).find(stolen, NOW) is None
        assert ring(file=path).find(stolen.hex().encode(), NOW) is None

    def test_keys_are_compared_in_constant_time_and_with_every_one(self, monkeypatch):
        compared = []
        compare = hmac.compare_digest
        monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(b) or compare(a, b))
        keys = ring(["one", "two", "three"])
        assert keys.find(b"one", NOW)
        assert len(compared) == 3
        assert keys.find(b"wrong", NOW) is None
        assert len(compared) == 6

    def test_a_keyring_with_an_empty_file_still_asks_for_keys(self, path):
        create(path, "a", ["read"])
        revoke(path, "a")
        assert ring(file=path).asks
        assert not ring().asks

    def test_wrong_keys_are_not_remembered(self):
        keys = ring(["right"])
        for i in range(1000):
            keys.find(str(i).encode(), NOW)
        keys.find(b"right", NOW)
        assert len(keys._accepted) == 1


class TestChanges:
    def test_a_new_key_is_accepted_and_a_revoked_one_refused_without_a_restart(self, path):
        old = create(path, "old", ["read"]).encode()
        keys = ring(file=path)
        assert keys.find(old, NOW)
        new = create(path, "new", ["read"]).encode()
        revoke(path, "old")
        assert keys.find(old, NOW + RECHECK_SECONDS / 2)
        assert keys.find(new, LATER)
        assert keys.find(old, LATER) is None

    def test_the_file_is_looked_at_once_a_second_at_most(self, path, monkeypatch):
        key = create(path, "a", ["read"]).encode()
        keys = ring(file=path)
        looks = []
        stat = type(path).stat
        monkeypatch.setattr(type(path), "stat", lambda self, **o: looks.append(self) or stat(self, **o))
        for tick in range(30):
            assert keys.find(key, NOW + tick / 10)
        assert len(looks) == 2

    @pytest.mark.parametrize("harm", ["unlink", "tear"])
    def test_a_file_that_cannot_be_read_lets_nobody_in_until_it_can(self, path, caplog, harm):
        key = create(path, "a", ["read"]).encode()
        good = path.read_text()
        keys = ring(["plain"], path)
        path.unlink() if harm == "unlink" else path.write_text(good[:-9])
        with caplog.at_level(logging.INFO):
            assert keys.find(key, LATER) is None
            assert keys.find(b"plain", LATER)
        assert "none of its keys is accepted" in caplog.text
        assert str(path) not in caplog.text
        path.write_text(good)
        assert keys.find(key, LATER + RECHECK_SECONDS)

    def test_a_change_of_the_file_gives_nobody_a_fresh_allowance(self, path):
        key = create(path, "a", ["read"], requests_per_second=1).encode()
        keys = ring(file=path)
        keys.find(key, NOW).enter(NOW)
        create(path, "b", ["read"])
        with pytest.raises(RateLimited):
            keys.find(key, LATER).enter(NOW)

    def test_at_start_the_file_must_be_readable(self, path):
        with pytest.raises(KeysFileError):
            ring(file=path)


class TestAllowance:
    def test_a_bucket_gives_a_seconds_worth_at_once_and_then_at_its_rate(self):
        bucket = Bucket(4)
        assert [bucket.take(100) for _ in range(5)] == [0, 0, 0, 0, 0.25]
        assert bucket.take(100.25) == 0
        assert bucket.take(100.25) == 0.25
        assert [bucket.take(200) for _ in range(5)] == [0, 0, 0, 0, 0.25]

    def test_a_slow_bucket_gives_one_and_says_how_long_to_wait(self):
        bucket = Bucket(0.1)
        assert bucket.take(100) == 0
        assert bucket.take(104) == pytest.approx(6)

    def test_asking_too_often_is_refused_with_the_time_until_the_next(self):
        slow = holder(requests_per_second=0.1)
        slow.enter(100)
        slow.leave(0.01)
        with pytest.raises(RateLimited) as refusal:
            slow.enter(103.5)
        assert refusal.value.retry_after_seconds == 7
        slow.enter(110.1)

    def test_too_many_at_once_are_refused_with_the_time_that_one_takes(self):
        narrow = holder(concurrency=2)
        for _ in range(30):
            narrow.enter(NOW)
            narrow.leave(2.5)
        narrow.enter(NOW)
        narrow.enter(NOW)
        with pytest.raises(KeyBusy) as refusal:
            narrow.enter(NOW)
        assert refusal.value.retry_after_seconds == 3
        narrow.leave(2.5)
        narrow.enter(NOW)

    def test_who_is_refused_for_being_too_many_spends_no_token(self):
        narrow = holder(concurrency=1, requests_per_second=2)
        narrow.enter(NOW)
        for _ in range(5):
            with pytest.raises(KeyBusy):
                narrow.enter(NOW)
        narrow.leave(0)
        narrow.enter(NOW)

    def test_limits_of_a_key_come_before_those_of_the_settings(self, path):
        own = create(path, "own", ["read"], requests_per_second=5, concurrency=1).encode()
        none = create(path, "none", ["read"]).encode()
        keys = ring(file=path, requests_per_second=7, concurrency=2)
        assert keys.find(own, NOW).allowance == (5, 1)
        assert keys.find(none, NOW).allowance == (7, 2)

    def test_a_key_is_good_until_its_day_comes(self, path):
        for name, year in (("past", 2001), ("future", 2999)):
            key = create(path, name, ["read"], expires=datetime(year, 1, 1, tzinfo=UTC)).encode()
            found = ring(file=path).find(key, NOW)
            if name == "past":
                with pytest.raises(KeyExpired):
                    found.enter(NOW)
            else:
                found.enter(NOW)
