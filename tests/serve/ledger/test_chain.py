"""The chain by hand."""

import hashlib

import pytest

from goodcert.serve.ledger.chain import ORIGIN, Checkpoint, Link, read_checkpoint, sign_checkpoint
from goodcert.serve.proof.signing import CHECKPOINT, SignatureRefused


def test_a_digest_covers_the_one_before_the_number_and_the_bytes():
    first = hashlib.sha256(b"goodcert-ledger-1" + bytes(32) + b"\0\0\0\0\0\0\0\1" + b"one").digest()
    second = hashlib.sha256(b"goodcert-ledger-1" + first + b"\0\0\0\0\0\0\0\2" + b"two").digest()
    assert ORIGIN.then(b"one") == Link(1, first)
    assert ORIGIN.then(b"one").then(b"two") == Link(2, second)


def test_a_checkpoint_says_what_was_signed(signer, keys):
    for base in (False, True):
        checkpoint = Checkpoint(Link(7, bytes(range(32))), base)
        assert read_checkpoint(sign_checkpoint(checkpoint, "now", signer), keys) == checkpoint


@pytest.mark.parametrize("payload", [b"{}", b"[]", b'{"seq": 1, "digest": "no", "base": false}'])
def test_something_else_that_was_signed_is_no_checkpoint(signer, keys, payload):
    with pytest.raises(SignatureRefused):
        read_checkpoint(signer.sign(payload, CHECKPOINT), keys)
