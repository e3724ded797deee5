"""Ledgers in both kinds of database, and certificates to put into them."""

import asyncio
import itertools

import pytest

from goodcert.serve.ledger.database import connect
from goodcert.serve.ledger.writer import Writer
from goodcert.serve.proof.signing import Signer, create_key, key_set, read_keys
from postgres import missing, postgres


@pytest.fixture(scope="session")
def server():
    if reason := missing():
        pytest.skip(reason)
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("server").database()


@pytest.fixture
def signer(tmp_path):
    create_key(tmp_path / "keys")
    return Signer(read_keys(tmp_path / "keys"))


@pytest.fixture
def keys(signer):
    import json

    return key_set(json.dumps(signer.published()))


@pytest.fixture
def bodies():
    """As many certificates as asked for, each with an id and a second of its own."""
    numbers = itertools.count()

    def make(count, verdict="out_of_distribution"):
        return [body(next(numbers), verdict) for _ in range(count)]

    return make


def body(number, verdict="out_of_distribution"):
    return {
        "format": 2,
        "id": f"{number:032x}",
        "model": {"name": "tiny", "version": "1", "sha256": "m"},
        "image": {"sha256": "i", "format": "PNG", "width": 6, "height": 4},
        "epsilon": 0.3, "norm": "linf", "scope": "upload", "method": "ibp",
        "prediction": {"index": 0, "label": "a"},
        "confidence": 0.5, "confidence_upper_bound": 0.75, "confidence_lower_bound": 1 / 3,
        "possible_labels": ["a", "ß|"], "threshold": 0.7, "verdict": verdict, "certified_radius": None,
        "issued_at": f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z",
        "engine": {"version": "1", "device": "cpu"},
    }  # fmt: skip


@pytest.fixture
def record(url):
    """Appends lists of certificates, at the same time, and closes the ledger; returns the sizes of the commits."""

    def record_them(*lists, signer=None, url=url):
        async def work():
            sizes = []
            writer = Writer(connect(url, writes=True), signer, lambda count, _: sizes.append(count))
            await writer.open()
            try:
                await asyncio.gather(*map(writer.append, lists))
            finally:
                await writer.close()
            return sizes

        return asyncio.run(work())

    return record_them
