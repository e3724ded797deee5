"""Records every certificate in the ledger before it is sent, and answers an idempotency key once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from goodcert.serve.core.errors import (
    IdempotencyMismatch,
    IdempotencyUnavailable,
    LedgerDisabled,
    LedgerUnavailable,
    SigningDisabled,
)
from goodcert.serve.core.verdict import ACCEPTED
from goodcert.serve.proof.idempotency import Name, Once, Stored
from goodcert.serve.settings.settings import Settings

if TYPE_CHECKING:  # what is off is not even imported
    from goodcert.serve.core.event import Event
    from goodcert.serve.events.watch import Watch
    from goodcert.serve.ledger.ledger import Ledger
    from goodcert.serve.proof.signing import Signer


JOSE = "application/jose"
"""What a signed certificate is, as `Accept` and `Content-Type` name it (RFC 7515, section 9.2.1)."""


class Reply(NamedTuple):
    """An answer on its way out, with the bodies of the certificates in it, and the upload of each."""

    content: bytes
    media_type: str
    certificates: Sequence[Mapping[str, Any]] = ()
    images: Sequence[bytes] = ()


Make = Callable[[], Awaitable[Reply]]


class Seal(NamedTuple):
    """Gives certificates their last form: JSON, or signed where there is a signer."""

    signer: "Signer | None"

    def one(self, body: Mapping[str, Any], image: bytes) -> Reply:
        text = orjson.dumps(body)
        if self.signer is None:
            return Reply(text, "application/json", (body,), (image,))
        return Reply(self.signer.certificate(text).encode(), JOSE, (body,), (image,))

    def all(self, entries: Sequence[Mapping[str, Any]], images: Sequence[bytes]) -> Reply:
        """entries: certificates, or objects with an `error`, one for each of `images`."""
        bodies = [entry for entry in entries if "error" not in entry]
        images = [image for image, entry in zip(images, entries, strict=True) if "error" not in entry]
        signer = self.signer
        if signer is not None:
            entries = [e if "error" in e else {"jws": signer.certificate(orjson.dumps(e))} for e in entries]
        return Reply(orjson.dumps({"certificates": entries}), "application/json", bodies, images)


class Recorder:
    """ledger, signer, watch: None where they are off. on_lost: is told how many certificates leave unrecorded,
    and what triggers raised for them."""

    def __init__(
        self,
        settings: Settings,
        ledger: "Ledger | None" = None,
        signer: "Signer | None" = None,
        on_lost: "Callable[[int, Sequence[Event]], object]" = lambda _, __: None,
        watch: "Watch | None" = None,
    ) -> None:
        self._ledger, self._signer, self._on_lost, self._watch = ledger, signer, on_lost, watch
        self._all = settings.ledger_records == "all"
        self._serves = settings.ledger_on_failure == "serve"
        self._under_way: dict[Name, tuple[bytes, asyncio.Task[Reply]]] = {}

    @property
    def ledger(self) -> "Ledger":
        """What `/v1/certificates` reads. Raises LedgerDisabled where none is kept."""
        if self._ledger is None:
            raise LedgerDisabled
        return self._ledger

    @property
    def signer(self) -> "Signer":
        """Who signs certificates. Raises SigningDisabled where there are no signing keys."""
        if self._signer is None:
            raise SigningDisabled
        return self._signer

    @property
    def records(self) -> bool:
        """Whether anything is recorded at all."""
        return self._ledger is not None

    def published(self) -> dict[str, Any]:
        """The JWK set of all keys."""
        return {"keys": []} if self._signer is None else self._signer.published()

    async def answer_once(self, make: Make, once: Once, deadline: float) -> Reply:
        """What `make` answers, recorded; for a key that was used before, what was answered then.

        Requests with one key at the same time share one run. Raises LedgerUnavailable, IdempotencyMismatch,
        IdempotencyUnavailable, and what `make` does.
        """
        fingerprint, task = self._under_way.get(once.name) or self._begin(make, once, deadline)
        if fingerprint != once.fingerprint:
            raise IdempotencyMismatch
        return await asyncio.shield(task)  # a caller who goes away takes nothing from the others

    def _begin(self, make: Make, once: Once, deadline: float) -> tuple[bytes, asyncio.Task[Reply]]:
        task = asyncio.create_task(self._first(make, once, deadline))
        task.add_done_callback(lambda _: self._under_way.pop(once.name))
        self._under_way[once.name] = once.fingerprint, task
        return self._under_way[once.name]

    async def _first(self, make: Make, once: Once, deadline: float) -> Reply:
        if self._ledger is None:
            raise IdempotencyUnavailable
        stored = await self._ledger.look(lambda reader: reader.answer(once.name))
        return _replay(stored, once) if stored else await self.record(await make(), deadline, once)

    async def record(self, reply: Reply, deadline: float, once: Once | None = None) -> Reply:
        """The answer, recorded. Raises LedgerUnavailable, IdempotencyMismatch."""
        if self._ledger is None:
            return reply
        bodies = [body for body in reply.certificates if self._all or body["verdict"] not in ACCEPTED]
        events = self._watch.raised(reply.certificates, reply.images) if self._watch else ()
        if not bodies and not events and once is None:
            return reply
        answer = Stored(once.fingerprint, reply.media_type, reply.content) if once else None
        try:
            stored = await self._ledger.append(bodies, once.name if once else None, answer, events, deadline)
        except LedgerUnavailable:
            if once is not None or not self._serves:
                raise
            self._on_lost(len(bodies), events)
            return reply
        return _replay(stored, once) if stored and once else reply


def _replay(stored: Stored, once: Once) -> Reply:
    if stored.fingerprint != once.fingerprint:
        raise IdempotencyMismatch
    return Reply(stored.content, stored.media_type)
