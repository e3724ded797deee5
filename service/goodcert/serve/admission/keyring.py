"""API keys in use: compared in constant time, each with its rate and concurrency limits; reloaded each second."""

import hmac
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from goodcert.serve.admission.keys import SCOPES, Key, KeysFile, KeysFileError, digest_of
from goodcert.serve.core.errors import KeyBusy, KeyExpired, RateLimited
from goodcert.serve.settings.settings import Settings, SettingsError

log = logging.getLogger("goodcert.serve")

# A change of the file is noticed this many seconds after it, or earlier.
RECHECK_SECONDS = 1.0
# Weight of the newest request in the moving average of seconds per request.
_NEWEST = 0.2


class Allowance(NamedTuple):
    """What one key may ask for; None is no limit."""

    requests_per_second: float | None = None
    concurrency: int | None = None


UNLIMITED = Allowance()


class Bucket:
    """A token bucket: a second's worth of requests at once, at least one, and `rate` a second after that."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = self._tokens = max(1.0, rate)
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take a token and return 0, or take none and return the seconds until there is one."""
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0


class Holder:
    """A key in use: `enter` for every request, `leave` when it is answered."""

    def __init__(
        self, name: str, digest: bytes, scopes: Iterable[str], allowance: Allowance, expires: float = math.inf
    ) -> None:
        self.name = name
        self.digest = digest
        self.scopes = frozenset(scopes)
        self.allowance = allowance
        self.expires = expires
        self._most = math.inf if allowance.concurrency is None else allowance.concurrency
        self._bucket = allowance.requests_per_second and Bucket(allowance.requests_per_second)
        self._inside = 0
        self._seconds = 0.0

    @classmethod
    def of(cls, key: Key, default: Allowance) -> Self:
        own = Allowance(
            key.requests_per_second or default.requests_per_second, key.concurrency or default.concurrency
        )
        expires = key.expires.timestamp() if key.expires else math.inf
        return cls(key.name, bytes.fromhex(key.sha256), key.scopes, own, expires)

    def enter(self, now: float) -> None:
        """Begin a request. Raises KeyExpired, KeyBusy or RateLimited."""
        if self.expires <= time.time():
            raise KeyExpired(self.name)
        if self._inside >= self._most:
            raise KeyBusy(max(1, math.ceil(self._seconds)))
        wait = self._bucket.take(now) if self._bucket else 0
        if wait:
            raise RateLimited(math.ceil(wait))
        self._inside += 1

    def leave(self, seconds: float) -> None:
        """End a request that took this long; the average says when to come again."""
        self._inside -= 1
        self._seconds += _NEWEST * (seconds - self._seconds)

    def succeeds(self, other: "Holder") -> bool:
        """Whether this is the same key as before, so that what it has used up stays used up."""
        return (self.digest, self.scopes, self.allowance, self.expires) == (
            other.digest, other.scopes, other.allowance, other.expires,
        )  # fmt: skip


@dataclass(frozen=True)
class _Stamp:
    """What tells one state of the file from another."""

    device: int
    inode: int
    modified_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


class Keyring:
    """Every key that is accepted: those of the settings, with all scopes, and those of a file that may change.

    A file that has vanished or cannot be read lets nobody in: a key that is being revoked must not live on because
    of a slip of the pen. The keys of the settings are not touched by that.
    """

    def __init__(
        self,
        plain: Sequence[str] = (),
        file: Path | None = None,
        default: Allowance = UNLIMITED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises KeysFileError when there is a file and it cannot be read."""
        self._file = file
        self._default = default
        self._clock = clock
        self._fixed = [
            Holder(f"api_keys-{i}", digest_of(key.encode()), SCOPES, default) for i, key in enumerate(plain)
        ]
        self.asks = bool(plain or file)
        self._accepted: dict[bytes, Holder] = {}
        self._stamp = _Stamp.of(file) if file else None
        self._holders = [*self._fixed, *self._read()]
        self._checked = clock()

    def find(self, key: bytes, now: float) -> Holder | None:
        """Whose key it is, at the time `now` of the clock."""
        if self._file and now - self._checked >= RECHECK_SECONDS:
            self._recheck(now)
        digest = digest_of(key)
        return self._accepted.get(digest) or self._compare(digest)

    def _compare(self, digest: bytes) -> Holder | None:
        """Every comparison is made: the time tells neither how much of a digest is right nor whose it is."""
        found = [holder for holder in self._holders if hmac.compare_digest(digest, holder.digest)]
        if not found:
            return None
        self._accepted[digest] = found[0]
        return found[0]

    def _recheck(self, now: float) -> None:
        self._checked = now
        stamp = _Stamp.of(self._file) if self._file else None
        if stamp == self._stamp:
            return
        self._stamp = stamp
        before = {holder.digest: holder for holder in self._holders}
        try:
            fresh = self._read()
        except KeysFileError:
            log.error("the file of API keys cannot be read: none of its keys is accepted until it can")
            fresh = []
        else:
            log.info("the file of API keys has changed: %d keys are accepted from it", len(fresh))
        kept = [old if (old := before.get(new.digest)) and new.succeeds(old) else new for new in fresh]
        self._holders = [*self._fixed, *kept]
        self._accepted = {}

    def _read(self) -> list[Holder]:
        keys = KeysFile.read(self._file).keys if self._file else ()
        return [Holder.of(key, self._default) for key in keys]


def keyring(settings: Settings) -> Keyring:
    """The keys that the settings name. Raises SettingsError when their file cannot be read."""
    plain = [key.get_secret_value() for key in settings.api_keys]
    default = Allowance(settings.key_requests_per_second, settings.key_concurrency)
    try:
        return Keyring(plain, settings.keys_file, default)
    except KeysFileError as error:
        raise SettingsError(str(error)) from error
