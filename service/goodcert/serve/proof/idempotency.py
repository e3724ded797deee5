"""Idempotency-Key: its syntax, the caller it belongs to, and the fingerprint of the request it was used for."""

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from goodcert.serve.core.errors import BadIdempotencyKey

HEADER = "idempotency-key"
_LONGEST = 255


class Name(NamedTuple):
    """An idempotency key with its caller, as two callers may use the same key. caller: as `caller_of` names it."""

    caller: str
    key: str


class Stored(NamedTuple):
    """An answer kept for an idempotency key. fingerprint: of the request that it answers."""

    fingerprint: bytes
    media_type: str
    content: bytes


class Once(NamedTuple):
    """A request that is to be answered once."""

    name: Name
    fingerprint: bytes


def once(keys: Sequence[str], caller: str, *parts: bytes) -> Once | None:
    """keys: the values of the header; None without any. parts: all that decides the answer.

    Raises BadIdempotencyKey."""
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0]) <= _LONGEST or not all("!" <= c <= "~" for c in keys[0]):
        raise BadIdempotencyKey
    return Once(Name(caller, keys[0]), _fingerprint(parts))


def caller_of(credentials: str | None) -> str:
    """One name for each API key, from which the key cannot be told; "" for callers without one."""
    return sha256(b"goodcert-caller-1" + credentials.encode()).hexdigest() if credentials else ""


def _fingerprint(parts: Sequence[bytes]) -> bytes:
    """Of all parts with their lengths, so that nothing can move from one to the next."""
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
