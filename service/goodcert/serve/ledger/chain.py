"""The hash chain: the digest of a row covers its number, its bytes and the digest before it.

    d_0 = 32 zero bytes,     d_n = SHA-256("goodcert-ledger-1" || d_(n-1) || n as 8 bytes, big endian || body_n)

So whoever knows d_n knows that rows 1 to n are those that were written, in this order and none left out. A
checkpoint is (n, d_n), signed: who holds one finds that anything up to n was edited, deleted, swapped or cut off,
even by somebody who can write to the database and computes all digests anew.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from joserfc.jwk import KeySet

from goodcert.serve.proof.claims import PRINTABLE, SHA256, Claim, ClaimsRefused, faults, parse, whole
from goodcert.serve.proof.signing import CHECKPOINT, SignatureRefused, Signer, verified

_DOMAIN = b"goodcert-ledger-1"


class Link(NamedTuple):
    """The place of a row: its number, from 1, and its digest, 32 bytes."""

    seq: int
    digest: bytes

    def then(self, body: bytes) -> "Link":
        """The link of the row that follows, whose bytes are `body`."""
        seq = self.seq + 1
        return Link(seq, sha256(b"%b%b%b%b" % (_DOMAIN, self.digest, seq.to_bytes(8, "big"), body)).digest())


ORIGIN = Link(0, bytes(32))


class Checkpoint(NamedTuple):
    """base: whether what comes before was pruned, so that the chain begins here."""

    link: Link
    base: bool


_CLAIMS: Mapping[str, Claim] = {
    "seq": whole(0),
    "digest": SHA256,
    "base": Claim("true or false", lambda value: isinstance(value, bool)),
    "made_at": PRINTABLE,
}


def sign_checkpoint(checkpoint: Checkpoint, made_at: str, signer: Signer) -> str:
    (seq, digest), base = checkpoint
    payload = {"seq": seq, "digest": digest.hex(), "base": base, "made_at": made_at}
    return signer.sign(json.dumps(payload).encode(), CHECKPOINT)


def read_checkpoint(token: str, keys: KeySet) -> Checkpoint:
    """The checkpoint in a JSON Web Signature by one of `keys`. Raises SignatureRefused."""
    try:
        payload = parse(verified(token, keys, CHECKPOINT))
    except ClaimsRefused as error:
        raise SignatureRefused(str(error)) from error
    if wrong := list(faults(payload, _CLAIMS, "a checkpoint")):
        raise SignatureRefused("; ".join(wrong))
    return Checkpoint(Link(payload["seq"], bytes.fromhex(payload["digest"])), payload["base"])
