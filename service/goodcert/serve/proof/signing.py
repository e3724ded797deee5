"""Signatures: compact JSON Web Signatures with Ed25519 and no other algorithm (RFC 7515, RFC 9864).

Signing keys are PEM files in one folder. Sorted by name, as `create_key` names them by time, the last private key
signs; all public keys are published, those without a private part too, so that old signatures stay verifiable.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

log = logging.getLogger("goodcert.serve")

ALGORITHM: Final = "Ed25519"
CERTIFICATE = "goodcert-certificate"
CHECKPOINT = "goodcert-checkpoint"
"""Types of what is signed (RFC 8725, section 3.11): one is never taken for the other."""

RECHECK_SECONDS = 1.0
"""A change of the folder is noticed so many seconds after it, or earlier."""

_LONGEST = 2**20
"""Bytes of a payload: a certificate of 1024 classes fits many times."""


class KeyFault(ValueError):
    """A key or a set of keys that cannot be used; the message says which and why."""


class SignatureRefused(ValueError):
    """Something that is not what one of the known keys signed; the message says why."""


class Signer:
    """Signs with the newest key. keys: Ed25519, oldest first. Raises KeyFault where none of them can sign."""

    def __init__(self, keys: Sequence[OKPKey]) -> None:
        private = [key for key in keys if key.is_private]
        if not private:
            raise KeyFault(
                "signing_keys: got no private key, expected one; make it with goodcert signing-keys create"
            )
        self._key = private[-1]
        self._keys = keys

    @property
    def kid(self) -> str:
        """The key that signs, by its RFC 7638 thumbprint."""
        return str(self._key.kid)

    def sign(self, payload: bytes, kind: str) -> str:
        """The compact serialization; the same payload gives the same bytes as long as the key is the same."""
        key = self._key
        header = {"alg": ALGORITHM, "kid": str(key.kid), "typ": kind}
        return jws.serialize_compact(header, payload, key, registry=_registry())

    def certificate(self, body: bytes) -> str:
        """A certificate, `body` in JSON, signed."""
        return self.sign(body, CERTIFICATE)

    def published(self) -> dict[str, Any]:
        """The JWK set: public parts of all keys."""
        return published(self._keys)


class FolderSigner(Signer):
    """Signs with the newest key of a folder as it is now: a change of it takes `RECHECK_SECONDS`, and no restart.
    What is published is looked up each time: another process on the folder may sign with a new key already.

    Where the folder cannot be used any more, the keys of before stay. Thread-safe. Raises KeyFault at the start.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._stamp, self._checked = _stamp(folder), clock()
        super().__init__(read_keys(folder))

    def sign(self, payload: bytes, kind: str) -> str:
        if self._clock() - self._checked >= RECHECK_SECONDS:
            self._check()
        return super().sign(payload, kind)

    def published(self) -> dict[str, Any]:
        self._check()
        return super().published()

    def _check(self) -> None:
        self._checked = self._clock()
        stamp = _stamp(self._folder)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            super().__init__(read_keys(self._folder))
        except KeyFault:
            log.error("the folder of signing keys cannot be used: the keys of before stay")
        else:
            log.info("the folder of signing keys has changed: %d keys are published", len(self._keys))


def _stamp(folder: Path) -> list[tuple[str, int, int]]:
    """What tells one state of the folder from another; of a file that is gone meanwhile, that it is."""
    found = []
    for path in sorted(folder.glob("*.pem")):
        with suppress(OSError):
            status = path.stat()
            found.append((path.name, status.st_mtime_ns, status.st_size))
    return found


def verified(token: str, keys: KeySet, kind: str) -> bytes:
    """The payload of `token`, signed by one of `keys`. Raises SignatureRefused, whatever is wrong with it."""
    try:
        found = jws.extract_compact(token.encode("ascii"), registry=_registry())
        header = found.headers()
        if header.keys() != {"alg", "kid", "typ"} or (header["alg"], header["typ"]) != (ALGORITHM, kind):
            raise SignatureRefused(f"got the header {header}, expected one of a {kind} signed with {ALGORITHM}")
        key = next((key for key in keys if key.kid == header["kid"]), None)
        if not isinstance(key, OKPKey):
            raise SignatureRefused(f"key {header['kid']} is none of the keys given; were they fetched long ago?")
        if not jws.validate_compact(found, key, registry=_registry()):
            raise SignatureRefused("the signature is not that of its key: something was changed")
    except (JoseError, ValueError, TypeError) as error:
        if isinstance(error, SignatureRefused):
            raise
        raise SignatureRefused(f"not a compact signature of one line: {error}") from error
    return found.payload or b""


def _registry() -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=[ALGORITHM])
    registry.max_payload_length = _LONGEST
    return registry


def read_keys(folder: Path) -> list[OKPKey]:
    """Every key in `folder`, oldest first. Raises KeyFault, by file."""
    return [_read_key(path) for path in sorted(folder.glob("*.pem"))]


def _read_key(path: Path) -> OKPKey:
    try:
        key = OKPKey.import_key(path.read_bytes())
    except (JoseError, ValueError, TypeError, OSError) as error:
        raise KeyFault(f"{path}: not an Ed25519 key in PEM ({type(error).__name__})") from error
    if key.curve_name != ALGORITHM:
        raise KeyFault(f"{path}: got a key of {key.curve_name}, expected {ALGORITHM}")
    key.ensure_kid()
    return key


def create_key(folder: Path) -> tuple[Path, OKPKey]:
    """Write a new private key, readable by its owner only, under a name after all the others. Raises OSError."""
    key = OKPKey.generate_key(ALGORITHM)
    key.ensure_kid()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ.pem")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.as_pem(private=True))
    return path, key


def published(keys: Iterable[OKPKey]) -> dict[str, Any]:
    """The JWK set of `keys` (RFC 7517), without their private parts."""
    return {"keys": [key.as_dict(private=False, use="sig", alg=ALGORITHM) for key in keys]}


def key_set(text: str | bytes) -> KeySet:
    """Read a JWK set. Raises KeyFault."""
    try:
        keys = KeySet.import_key_set(json.loads(text))
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise KeyFault(f"not a JWK set with a key ({type(error).__name__}); GET /v1/keys gives one") from error
    return KeySet([key for key in keys if isinstance(key, OKPKey) and key.curve_name == ALGORITHM])
