"""The ids of certificates."""

import time
from uuid import RFC_4122, UUID

from goodcert.serve.core import certificate_ids


def test_an_id_is_a_uuid_of_version_7():
    for _ in range(100):
        uuid = UUID(certificate_ids.new())
        assert (uuid.version, uuid.variant) == (7, RFC_4122)
        assert len(certificate_ids.new()) == 32


def test_an_id_begins_with_its_time_in_milliseconds(monkeypatch):
    # The example of RFC 9562, appendix A.6: 22 February 2022, 14:22:22 in New York.
    monkeypatch.setattr(time, "time_ns", lambda: 0x017F22E279B0 * 1_000_000 + 999_999)
    monkeypatch.setattr("os.urandom", lambda count: b"\xff" * count)
    assert certificate_ids.new() == "017f22e279b07fffbfffffffffffffff"


def test_ids_differ():
    assert len({certificate_ids.new() for _ in range(10_000)}) == 10_000
