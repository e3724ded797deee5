"""Delivery of webhooks, at least once: one task for each trigger takes events from the outbox and sends them.

A letter is leased from the outbox for twice as long as an attempt may last. After a failed attempt it is retried
with exponential backoff; after the last attempt it is a dead letter. The status 410 (Gone) disables the trigger,
and letters that are due become dead at once, until the next start or `goodcert triggers resend`.
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from standardwebhooks import Webhook

from goodcert.serve.core.event import Event
from goodcert.serve.events.webhook_client import DeliveryFailed, WebhookAnswer, WebhookClient
from goodcert.serve.ledger.ledger import Ledger
from goodcert.serve.ledger.outbox import End, Letter, Outbox
from goodcert.serve.settings.settings import Settings, SettingsError
from goodcert.serve.settings.trigger_rules import Trigger
from goodcert.serve.telemetry.metrics import Metrics

log = logging.getLogger("goodcert.serve")

GONE = 410
AT_ONCE = 8
"""The most attempts for one trigger at a time, in a process."""
LOOK_SECONDS = 5.0
"""How often the outbox is looked at for what other processes raised, or left behind."""
LONGEST_WAIT = timedelta(hours=1)

Post = Callable[[Mapping[str, str], bytes], Awaitable[WebhookAnswer]]
"""As `WebhookClient.post`."""
T = TypeVar("T")


@dataclass(frozen=True)
class Policy:
    """attempts: in all. first: the wait after the first one. timeout: of each."""

    attempts: int
    first: timedelta
    timeout: timedelta

    def wait(self, attempt: int, chance: float) -> timedelta:
        """After the attempt of this number, from 1: first * 2^(attempt-1), an hour at most, times 1 - chance/2.

        chance: in [0, 1), so that letters that failed together do not come back together.
        """
        doubled = min(self.first * (1 << min(attempt - 1, 30)), LONGEST_WAIT)
        return doubled * (1 - chance / 2)


def _now() -> datetime:
    return datetime.now(UTC)


class Courier:
    """Delivers what one trigger raised. post: of its target. thread: for what changes the outbox.
    now, chance: the time, and a number in [0, 1)."""

    def __init__(
        self,
        trigger: Trigger,
        outbox: Outbox,
        post: Post,
        policy: Policy,
        metrics: Metrics,
        thread: Executor | None = None,
        now: Callable[[], datetime] = _now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = trigger.name
        self._signers = [Webhook(secret) for secret in trigger.secrets()]
        self._outbox, self._post, self._policy, self._metrics = outbox, post, policy, metrics
        self._thread, self._now, self._chance = thread, now, chance
        self._woken = asyncio.Event()
        self._fault = ""
        self._started = False

    def wake(self) -> None:
        """Look at the outbox now: something was raised and is committed."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; a database that fails is asked again."""
        while True:
            self._woken.clear()
            try:
                while await self.round():
                    pass
                wait = await self._look()
            except Exception as error:  # noqa: BLE001  whatever it was, the next round may do better
                self._say(type(error).__name__)
                wait = LOOK_SECONDS
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def round(self) -> int:
        """One attempt for each of some letters that are due; how many. Raises SQLAlchemyError or OSError."""
        if not self._started:
            await self._write(self._outbox.enable, self.name)
            self._started = True
        if await asyncio.to_thread(self._outbox.is_disabled, self.name):
            self._died(await self._write(self._outbox.bury_due, self.name, self._now(), "disabled"))
            return 0
        letters = await self._write(self._outbox.take, self.name, self._now(), 2 * self._policy.timeout, AT_ONCE)
        if letters:
            await self._attempt_all(letters)
        return len(letters)

    async def _attempt_all(self, letters: Sequence[Letter]) -> None:
        """What has no end yet when the service ends is due at once, for somebody else."""
        ends = {letter.id: End(letter, due=self._now()) for letter in letters}

        async def attempt(letter: Letter) -> None:
            ends[letter.id] = await self._attempt(letter)

        try:
            await asyncio.gather(*map(attempt, letters))
        except asyncio.CancelledError:
            with contextlib.suppress(SQLAlchemyError, OSError):  # without it the lease runs out
                await self._write(self._outbox.settle, list(ends.values()))
            raise
        await self._write(self._outbox.settle, list(ends.values()))
        if any(end.reason == str(GONE) for end in ends.values()):
            await self._write(self._outbox.disable, self.name, self._now())
        self._died(sum(end.reason is not None for end in ends.values()))

    async def _write(self, change: Callable[..., T], *about: Any) -> T:
        """In the thread that writes certificates: two that write SQLite at once would wait for each other."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(change, *about))

    async def _look(self) -> float:
        """Show how much waits; the seconds until there is something to do."""
        waiting = await asyncio.to_thread(self._outbox.waiting, self.name)
        now = self._now()
        oldest = _since(now, waiting.oldest) if waiting.oldest else 0
        self._metrics.trigger_outbox_items[self.name,].set(waiting.letters)
        self._metrics.trigger_outbox_oldest[self.name,].set(max(0, oldest))
        return min(LOOK_SECONDS, max(0, -_since(now, waiting.next_due))) if waiting.next_due else LOOK_SECONDS

    async def _attempt(self, letter: Letter) -> End:
        try:
            async with asyncio.timeout(self._policy.timeout.total_seconds()):
                return self._answered(letter, await self._post(self._headers(letter), letter.payload))
        except TimeoutError:
            return self._failed(letter, "timeout")
        except DeliveryFailed as error:
            return self._failed(letter, str(error))
        except Exception as error:  # noqa: BLE001  nothing that a receiver does may keep a letter for ever
            return self._failed(letter, type(error).__name__)

    def _headers(self, letter: Letter) -> dict[str, str]:
        """Signed anew for each attempt: receivers refuse what is older than some minutes."""
        now = self._now()
        text = letter.payload.decode()
        trace = {"traceparent": letter.traceparent} if letter.traceparent else {}
        return {
            "content-type": "application/json",
            "user-agent": "goodcert",
            "webhook-id": letter.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(letter.id, now, text) for signer in self._signers),
            **trace,
        }

    def _answered(self, letter: Letter, answer: WebhookAnswer) -> End:
        if not 200 <= answer.status < 300:
            return self._failed(letter, str(answer.status), timedelta(seconds=answer.retry_after))
        self._metrics.triggers_delivered[self.name,].inc()
        self._say("")
        return End(letter)

    def _failed(self, letter: Letter, reason: str, at_least: timedelta = timedelta()) -> End:
        self._metrics.triggers_failed[self.name,].inc()
        self._say(reason)
        if reason == str(GONE) or letter.attempt >= self._policy.attempts:
            return End(letter, reason=reason)
        wait = max(self._policy.wait(letter.attempt, self._chance()), min(at_least, LONGEST_WAIT))
        return End(letter, due=self._now() + wait)

    def _died(self, letters: int) -> None:
        if letters:
            self._metrics.triggers_dead[self.name,].inc(letters)
            log.error("trigger %s: %d webhooks are dead letters", self.name, letters)

    def _say(self, fault: str) -> None:
        """Once for each kind of failure, not for each attempt."""
        if fault and fault != self._fault:
            log.warning("trigger %s: webhooks are not received: %s", self.name, fault)
        elif self._fault and not fault:
            log.info("trigger %s: webhooks are received again", self.name)
        self._fault = fault


def _since(now: datetime, text: str) -> float:
    """The seconds from a time in the form of `timestamp`."""
    return (now - datetime.fromisoformat(text)).total_seconds()


@asynccontextmanager
async def delivering(settings: Settings, ledger: Ledger, metrics: Metrics) -> AsyncIterator[None]:
    """The tasks, until the end. Raises SettingsError."""
    couriers: dict[str, Courier] = {}

    def raised(events: Sequence[Event]) -> None:
        for event in events:
            metrics.triggers_raised[event.trigger,].inc()
            couriers[event.trigger].wake()

    outbox = ledger.outbox(raised)
    policy = Policy(
        settings.trigger_attempts,
        timedelta(seconds=settings.trigger_retry_seconds),
        timedelta(milliseconds=settings.trigger_timeout_ms),
    )
    for trigger in settings.triggers:
        couriers[trigger.name] = Courier(trigger, outbox, _target(trigger).post, policy, metrics, ledger.thread)
    tasks = [asyncio.create_task(courier.run()) for courier in couriers.values()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        outbox.close()


def _target(trigger: Trigger) -> WebhookClient:
    try:
        return WebhookClient(trigger)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"triggers: {trigger.name}: ca_file: expected certificates in PEM") from error
