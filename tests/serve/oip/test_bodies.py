"""Bodies: compressed ones unfold within the limit and no further."""

import asyncio
import gzip
import math
import tracemalloc
import zlib

import pytest

from goodcert.serve.core.errors import BodyBroken, BodyTooLarge, EncodingRefused
from goodcert.serve.oip import bodies

LIMIT = 1000


def inflate(body, encoding):
    return asyncio.run(bodies.inflate(body, encoding, LIMIT, deadline=math.inf))


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_a_body_without_encoding_stays_as_it_is(encoding):
    assert inflate(b"abc", encoding) == b"abc"


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("GZIP", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compressed_body_is_unfolded_up_to_the_limit(encoding, compress):
    assert inflate(compress(b"a" * LIMIT), encoding) == b"a" * LIMIT
    with pytest.raises(BodyTooLarge):
        inflate(compress(b"a" * (LIMIT + 1)), encoding)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_bomb_is_refused_without_being_unfolded(encoding, compress):
    bomb = compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            inflate(bomb, encoding)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"abc",
        gzip.compress(b"abc", mtime=0)[:-1],
        gzip.compress(b"abc", mtime=0) + b"x",
        gzip.compress(b"a", mtime=0) * 2,
    ],
)
def test_a_body_that_is_not_one_whole_stream_is_refused(body):
    with pytest.raises(BodyBroken):
        inflate(body, "gzip")


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "gzip, deflate", "zstd"])
def test_other_encodings_are_refused(encoding):
    with pytest.raises(EncodingRefused):
        inflate(b"abc", encoding)


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip;q=0.5", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("gzip; q=0", None),
        ("br", None),
        ("identity", None),
    ],
)
def test_answers_are_compressed_as_the_caller_accepts(accepted, chosen):
    body, encoding = bodies.deflate(b"abc" * 100, accepted)
    assert encoding == chosen
    unfold = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[chosen]
    assert unfold(body) == b"abc" * 100
