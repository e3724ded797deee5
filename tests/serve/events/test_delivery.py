"""At least once, in hours of a clock that the tests turn, in both kinds of database."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from standardwebhooks import Webhook

from goodcert.serve.core.event import event
from goodcert.serve.core.logs import traceparent
from goodcert.serve.events.delivery import LONGEST_WAIT, Courier, Policy
from goodcert.serve.events.watch import Watch
from goodcert.serve.events.webhook_client import DeliveryFailed, WebhookAnswer
from goodcert.serve.ledger.database import connect, migrate
from goodcert.serve.ledger.outbox import End, Outbox, put
from goodcert.serve.ledger.reader import Reader
from goodcert.serve.ledger.writer import Writer
from goodcert.serve.telemetry.metrics import Metrics
from serve.events.conftest import OTHER, SECRET, trigger
from serve.ledger.conftest import body

POLICY = Policy(attempts=20, first=timedelta(seconds=5), timeout=timedelta(seconds=10))


class Receiver:
    """Answers with the statuses it is given, then with 204; keeps (id, payload, headers)."""

    def __init__(self, *answers):
        self.answers, self.got = list(answers), []

    async def post(self, headers, payload):
        self.got.append((headers["webhook-id"], payload, headers))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, WebhookAnswer) else WebhookAnswer(answer)

    @property
    def ids(self):
        return [identity for identity, *_ in self.got]


class Clock:
    """A time that stands still until it is turned; a little ahead, so that what was just raised is due."""

    def __init__(self):
        self.now = datetime.now(UTC) + timedelta(minutes=1)

    def __call__(self):
        return self.now

    def turn(self, **by):
        self.now += timedelta(**by)


@pytest.fixture
def outbox(url):
    writes = connect(url, writes=True)
    migrate(writes)
    outbox = Outbox(writes, connect(url))
    yield outbox
    outbox.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def raise_events(url):
    def raise_them(count, name="person"):
        events = [event("certificate.matched", name, {"number": number}, None) for number in range(count)]
        engine = connect(url, writes=True)
        with engine.begin() as connection:
            put(connection, events)
        engine.dispose()
        return [event.id for event in events]

    return raise_them


class Office:
    """A courier with its metrics."""

    def __init__(self, outbox, receiver, clock, policy=POLICY, **changes):
        self.registry = CollectorRegistry()
        self.courier = Courier(
            trigger(**changes), outbox, receiver.post, policy, Metrics(self.registry), None, clock, lambda: 0.0
        )

    def round(self):
        return asyncio.run(self.courier.round())

    def count(self, name, trigger="person"):
        return self.registry.get_sample_value(f"goodcert_triggers_{name}_total", {"trigger": trigger}) or 0


def test_what_is_raised_is_in_the_transaction_of_its_certificate(url, outbox, clock):
    told = []

    async def work():
        writer = Writer(connect(url, writes=True))
        writer.on_raised = told.append
        events = Watch([trigger()]).raised([body(1)], [b""])
        await writer.append([body(1)], events=events)
        with pytest.raises(Exception, match=r"IntegrityError|UniqueViolation"):  # the certificate is there already
            await writer.append([body(1)], events=Watch([trigger()]).raised([body(1)], [b""]))
        await writer.close()
        return events

    events = asyncio.run(work())
    assert told == [events]
    (letter,) = outbox.take("person", clock(), timedelta(seconds=1), 8)
    assert (letter.id, letter.payload) == (events[0].id, events[0].payload)
    certificate = json.loads(letter.payload)["data"]["certificate"]
    reader = Reader(connect(url))
    assert json.loads(reader.certificate(certificate["id"])) == certificate
    reader.close()


def test_a_webhook_is_signed_so_that_the_library_verifies_it_at_every_attempt(outbox, raise_events, clock):
    clock.now = datetime.now(UTC) + timedelta(seconds=2)
    raise_events(1)
    receiver = Receiver(500)
    office = Office(outbox, receiver, clock, secret=f"{SECRET} {OTHER}")
    office.round()
    clock.turn(seconds=6)
    office.round()
    assert len(receiver.got) == 2
    assert receiver.got[0][2]["webhook-timestamp"] != receiver.got[1][2]["webhook-timestamp"]
    for _, payload, headers in receiver.got:
        for secret in (SECRET, OTHER):
            Webhook(secret).verify(payload, headers)


def test_every_attempt_names_the_span_of_the_request_that_raised_it(outbox, raise_events, clock):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    token = traceparent.set(parent)
    raise_events(1)
    traceparent.reset(token)
    receiver = Receiver(500)
    office = Office(outbox, receiver, clock)
    office.round()
    clock.turn(seconds=6)
    office.round()
    assert [headers["traceparent"] for _, _, headers in receiver.got] == [parent] * 2


def test_a_letter_from_before_the_service_kept_spans_is_delivered_without_one(url, raise_events, clock):
    writes = connect(url, writes=True)
    migrate(writes)
    ids = raise_events(1)
    with writes.begin() as connection:  # as it was
        connection.execute(text("ALTER TABLE outbox DROP COLUMN traceparent"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    migrate(writes)
    receiver, outbox = Receiver(), Outbox(writes, connect(url))
    Office(outbox, receiver, clock).round()
    outbox.close()
    assert receiver.ids == ids
    assert "traceparent" not in receiver.got[0][2]


def test_a_receiver_that_is_down_for_a_minute_gets_everything_once_it_is_back_under_the_same_ids(
    outbox, raise_events, clock
):
    ids = raise_events(20)
    receiver = Receiver(*[DeliveryFailed("ConnectionRefusedError")] * 80)
    office = Office(outbox, receiver, clock)
    for _ in range(76):
        while office.round():
            pass
        clock.turn(seconds=1)
    assert sorted(receiver.ids[80:]) == sorted(ids)
    assert set(receiver.ids[:80]) == set(ids)
    assert (office.count("failed"), office.count("delivered"), office.count("dead")) == (80, 20, 0)
    assert outbox.waiting("person").letters == 0


def test_waits_double_up_to_an_hour_and_last_for_hours():
    waits = [POLICY.wait(attempt, 0) for attempt in range(1, POLICY.attempts)]
    assert [wait.total_seconds() for wait in waits[:4]] == [5, 10, 20, 40]
    assert max(waits) == LONGEST_WAIT
    assert timedelta(hours=10) < sum(waits, timedelta()) < timedelta(hours=12)
    assert POLICY.wait(3, 0.5) == timedelta(seconds=15)
    assert POLICY.wait(10**6, 0.999) < LONGEST_WAIT


def test_after_the_last_attempt_a_letter_is_dead_and_is_sent_again_by_command(outbox, raise_events, clock):
    (identity,) = raise_events(1)
    receiver = Receiver(*[500] * 20)
    office = Office(outbox, receiver, clock)
    for _ in range(40):
        office.round()
        clock.turn(hours=1)
    assert len(receiver.got) == 20
    (dead,) = outbox.dead("person")
    assert (dead.id, dead.reason, office.count("dead"), office.count("failed")) == (identity, "500", 1, 20)
    assert outbox.resend(None, [identity], clock()) == 1
    office.round()
    assert receiver.ids == [identity] * 21
    assert list(outbox.dead()) == []
    assert office.count("delivered") == 1


def test_410_disables_until_the_next_start_and_nothing_is_lost(outbox, raise_events, clock):
    ids = raise_events(1)
    receiver = Receiver(410)
    office = Office(outbox, receiver, clock)
    office.round()
    ids += raise_events(2)
    office.round()
    assert len(receiver.got) == 1
    assert {letter.id: letter.reason for letter in outbox.dead()} == dict(
        zip(ids, ["410", "disabled", "disabled"], strict=True)
    )
    assert office.count("dead") == 3
    ids += raise_events(1)
    Office(outbox, receiver, clock).round()  # a new start
    assert receiver.ids[1:] == ids[3:]


def test_to_send_dead_letters_again_enables_the_trigger(outbox, raise_events, clock):
    ids = raise_events(3)
    receiver = Receiver(410, 410, 410)
    office = Office(outbox, receiver, clock)
    office.round()
    assert outbox.is_disabled("person")
    assert outbox.resend("person", [], clock()) == 3
    assert not outbox.is_disabled("person")
    office.round()
    assert sorted(receiver.ids[3:]) == sorted(ids)


def test_retry_after_is_respected_up_to_an_hour(outbox, raise_events, clock):
    raise_events(1)
    receiver = Receiver(WebhookAnswer(503, 100), WebhookAnswer(503, 10**9))
    office = Office(outbox, receiver, clock)
    for wait in (0, 99, 1, 3599, 1):
        clock.turn(seconds=wait)
        office.round()
    assert len(receiver.got) == 3


def test_each_letter_is_taken_by_one_of_several_processes(outbox, raise_events, clock, url):
    ids = raise_events(40)
    others = [Outbox(connect(url, writes=True), connect(url)) for _ in range(3)]
    receiver = Receiver()
    couriers = [Office(each, receiver, clock).courier for each in (outbox, *others)]

    async def all_at_once():
        for courier in couriers:
            courier._started = True
        while sum(await asyncio.gather(*(courier.round() for courier in couriers))):
            pass

    asyncio.run(all_at_once())
    for each in others:
        each.close()
    assert sorted(receiver.ids) == sorted(ids)


def test_what_a_dead_process_had_taken_is_due_again_after_its_lease(outbox, raise_events, clock):
    (identity,) = raise_events(1)
    (taken,) = outbox.take("person", clock(), 2 * POLICY.timeout, 8)
    receiver = Receiver()
    office = Office(outbox, receiver, clock)
    office.round()
    assert receiver.ids == []
    clock.turn(seconds=20)
    office.round()
    assert receiver.ids == [identity]
    assert taken.attempt == 1


def test_a_process_that_comes_too_late_changes_nothing(outbox, raise_events, clock):
    raise_events(1)
    lease = timedelta(seconds=1)
    (late,) = outbox.take("person", clock(), lease, 8)
    clock.turn(seconds=2)
    (held,) = outbox.take("person", clock(), lease, 8)
    outbox.settle([End(late, due=clock() + timedelta(days=1)), End(late, reason="late")])
    assert list(outbox.dead()) == []
    clock.turn(seconds=2)
    assert [letter.id for letter in outbox.take("person", clock(), lease, 8)] == [held.id]


def test_at_the_end_of_the_service_what_is_under_way_is_given_back_at_once(outbox, raise_events, clock):
    (identity,) = raise_events(1)
    begun = asyncio.Event()

    class Silent:
        async def post(self, *_):
            begun.set()
            await asyncio.Event().wait()

    async def work():
        task = asyncio.create_task(Office(outbox, Silent(), clock).courier.run())
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    assert [letter.id for letter in outbox.take("person", clock(), POLICY.timeout, 8)] == [identity]


def test_a_receiver_that_never_answers_is_left_after_the_timeout(outbox, raise_events, clock):
    raise_events(1)

    class Silent:
        async def post(self, *_):
            await asyncio.Event().wait()

    office = Office(outbox, Silent(), clock, Policy(1, timedelta(seconds=1), timedelta(milliseconds=20)))
    office.round()
    assert [letter.reason for letter in outbox.dead()] == ["timeout"]


def test_one_trigger_does_not_wait_for_another(outbox, raise_events, clock):
    raise_events(3, "person")
    ids = raise_events(2, "other")
    receiver = Receiver()
    Office(outbox, receiver, clock, name="other").round()
    assert sorted(receiver.ids) == sorted(ids)


def test_a_database_that_fails_is_asked_again(outbox, raise_events, clock, monkeypatch):
    ids = raise_events(2)
    receiver = Receiver()
    courier = Office(outbox, receiver, clock).courier
    faults = [OSError(), KeyError()]
    take = outbox.take
    monkeypatch.setattr("goodcert.serve.events.delivery.LOOK_SECONDS", 0.01)
    monkeypatch.setattr(outbox, "take", lambda *a: (_ for _ in ()).throw(faults.pop()) if faults else take(*a))

    async def work():
        task = asyncio.create_task(courier.run())
        async with asyncio.timeout(30):
            while len(receiver.got) < 2:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())
    assert sorted(receiver.ids) == sorted(ids)


def test_the_end_comes_also_where_nothing_can_be_given_back(outbox, raise_events, clock, monkeypatch):
    raise_events(1)
    begun = asyncio.Event()

    class Silent:
        async def post(self, *_):
            begun.set()
            await asyncio.Event().wait()

    def settle(_):
        raise OSError

    monkeypatch.setattr(outbox, "settle", settle)

    async def work():
        task = asyncio.create_task(Office(outbox, Silent(), clock).courier.run())
        await begun.wait()
        task.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(work())


def test_whatever_an_attempt_ends_with_counts_and_the_last_one_is_the_last(outbox, raise_events, clock):
    raise_events(1)
    receiver = Receiver(KeyError("secret"), OverflowError())
    office = Office(outbox, receiver, clock, Policy(2, timedelta(seconds=1), timedelta(seconds=1)))
    office.round()
    clock.turn(seconds=2)
    office.round()
    assert [letter.reason for letter in outbox.dead()] == ["OverflowError"]
