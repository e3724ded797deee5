"""The file of API keys: who may ask for what, until when, and how often; of the keys it has the SHA-256 only.

Keys are 256 random bits, so a fast hash protects them: there is nothing to guess from a stolen file.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

Scope = Literal["certify", "read", "admin", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


class KeysFileError(ValueError):
    """The file of keys, or what is to be done with it, is not as expected; the message says what to do."""


class Key(BaseModel):
    """One key as the file has it. Without a limit of its own, a key has that of the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], Field(min_length=1)]
    created: AwareDatetime
    expires: AwareDatetime | None = None
    requests_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None


class KeysFile(BaseModel):
    """A file of API keys: names and digests, each used once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for field in ("name", "sha256"):
            if len({getattr(key, field) for key in self.keys}) < len(self.keys):
                raise ValueError(f"expected every {field} once")
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises KeysFileError when the file cannot be read or is not of this form."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise KeysFileError(f"keys_file: got {path}, which cannot be read ({error.strerror})") from error
        except ValidationError as error:
            fault = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise KeysFileError(
                f"keys_file: got {path}, expected a file made by goodcert keys: {where} {fault['msg']}"
            ) from error

    def write(self, path: Path) -> None:
        """Replace the file at once, so that nobody reads half of it; only its owner may read a new one."""
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
        content = json.dumps(self.model_dump(mode="json", exclude_none=True), indent=2) + "\n"
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            os.fsync(file.fileno())
        os.replace(beside, path)


def digest_of(key: bytes) -> bytes:
    return sha256(key).digest()


def create(
    path: Path,
    name: str,
    scopes: Iterable[str],
    *,
    expires: datetime | None = None,
    requests_per_second: float | None = None,
    concurrency: int | None = None,
) -> str:
    """Add a key to the file and return it: it is kept nowhere else. Raises KeysFileError."""
    key = "gck_" + secrets.token_urlsafe(32)
    with _changing(path) as keys:
        if name in keys:
            raise KeysFileError(f"name: got {name}, which exists; revoke it first, or take another name")
        try:
            keys[name] = Key.model_validate(
                {
                    "name": name,
                    "sha256": digest_of(key.encode()).hex(),
                    "scopes": frozenset(scopes),
                    "created": datetime.now(UTC).replace(microsecond=0),
                    "expires": expires,
                    "requests_per_second": requests_per_second,
                    "concurrency": concurrency,
                }
            )
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise KeysFileError(f"{fault['loc'][0]}: got {fault['input']!r}; {fault['msg']}") from error
    return key


def revoke(path: Path, name: str) -> None:
    """Take a key out of the file. Raises KeysFileError when there is none of this name."""
    with _changing(path) as keys:
        if name not in keys:
            known = ", ".join(sorted(keys)) or "none"
            raise KeysFileError(f"name: got {name}, expected one of the file's: {known}")
        del keys[name]


@contextmanager
def _changing(path: Path) -> Iterator[dict[str, Key]]:
    """The keys by name, written back at the end; two programs at once take turns."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise KeysFileError(f"keys_file: got {path}, beside which nothing can be written") from error
    with os.fdopen(descriptor) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        keys = {key.name: key for key in (KeysFile.read(path).keys if path.exists() else ())}
        yield keys
        KeysFile(keys=tuple(keys.values())).write(path)
