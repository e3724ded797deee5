"""Appending: together, in one chain whoever writes, and never half."""

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, select

from goodcert.serve.core.errors import LedgerUnavailable
from goodcert.serve.ledger import writer as writing
from goodcert.serve.ledger.audit import audit
from goodcert.serve.ledger.database import connect, existing, migrate, write_ahead
from goodcert.serve.ledger.reader import Reader
from goodcert.serve.ledger.tables import answers, certificates, metadata
from goodcert.serve.ledger.writer import Writer
from goodcert.serve.proof.idempotency import Name, Stored
from goodcert.serve.settings.settings import SettingsError

ANSWER = Stored(b"print", "application/json", b"answer")
PROGRAM = """
import asyncio, sys
from conftest import body
from goodcert.serve.ledger.database import connect
from goodcert.serve.ledger.writer import Writer

async def work(url, first):
    writer = Writer(connect(url, writes=True))
    await writer.open()
    print("open", flush=True)
    sys.stdin.read(1)
    for start in range(first, first + 200, 4):
        await asyncio.gather(*(writer.append([body(n)]) for n in range(start, start + 4)))
    await writer.close()

asyncio.run(work(sys.argv[1], int(sys.argv[2])))
"""


def found(url, keys=None):
    with existing(url).begin() as connection:
        return audit(connection, keys)


def recorded(url):
    with existing(url).begin() as connection:
        return connection.execute(select(func.count()).select_from(certificates)).scalar_one()


def with_writer(url, work, **options):
    """Run `work(writer)`."""

    async def run():
        writer = Writer(connect(url, writes=True), **options)
        try:
            return await work(writer)
        finally:
            await writer.close()

    return asyncio.run(run())


def test_what_is_appended_at_the_same_time_shares_a_transaction(url, record, bodies):
    sizes = record(*([body] for body in bodies(500)))
    assert sizes == [500]
    assert found(url) == (1, 500, 0, [])


def test_what_comes_while_one_commits_goes_into_the_next(url, bodies):
    async def work(writer):
        first = asyncio.create_task(writer.append(bodies(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first one is on its way
        await asyncio.gather(first, *(writer.append([body]) for body in bodies(50)))

    sizes = []
    with_writer(url, work, on_commit=lambda count, _: sizes.append(count))
    assert sizes == [1, 50]


def test_a_certificate_is_kept_to_the_byte(url, record, bodies):
    (body,) = bodies(1)
    record([body])
    reader = Reader(existing(url))
    assert json.loads(reader.certificate(body["id"])) == body
    assert reader.certificate("other") is None


def test_checkpoints_are_made_as_rows_come(url, record, bodies, signer, keys, monkeypatch):
    monkeypatch.setattr(writing, "CHECKPOINT_ROWS", 10)

    async def work(writer):
        for _ in range(7):
            await writer.append(bodies(5))

    with_writer(url, work, signer=signer)
    assert found(url, keys) == (1, 35, 3, [])  # at 15, 25 and 35


def test_two_processes_write_one_chain(url):
    command = [sys.executable, "-c", PROGRAM, url]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": "tests/serve/ledger"}
    environment = {"PYTHONPATH": ":".join(["."] + [path for path in sys.path if path])}
    both = [subprocess.Popen([*command, first], env=environment, **pipes) for first in ("0", "1000")]
    try:
        for each in both:
            assert each.stdout.readline() == "open\n"
        for each in both:
            each.stdin.write("x")
            each.stdin.flush()
        assert [each.wait(120) for each in both] == [0, 0]
    finally:
        for each in both:
            each.kill()
            each.communicate()
    assert found(url) == (1, 400, 0, [])


def test_the_tables_are_those_that_the_migrations_make_also_where_several_start_at_once(url):
    engines = [connect(url, writes=True) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, engines))
    for engine in engines:
        engine.dispose()
    with existing(url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


class TestAnswers:
    def test_the_first_answer_for_a_key_stays_whoever_writes(self, url, bodies):
        name = Name("alice", "one")

        async def work(writer):
            other = Stored(b"other", "application/json", b"other")
            first = await writer.append(bodies(1), name, ANSWER)
            again = await writer.append(bodies(1), name, other)
            return first, again

        assert with_writer(url, work) == (None, ANSWER)
        assert with_writer(url, work) == (ANSWER, ANSWER)
        assert recorded(url) == 1
        assert Reader(existing(url)).answer(name) == ANSWER
        assert Reader(existing(url)).answer(Name("bob", "one")) is None

    def test_of_two_in_one_transaction_the_first_answers_both(self, url, bodies):
        name, other = Name("alice", "one"), Stored(b"other", "application/json", b"other")

        async def work(writer):
            return await asyncio.gather(
                writer.append(bodies(1), name, ANSWER),
                writer.append(bodies(1), name, other),
                writer.append(bodies(1), Name("bob", "one"), other),
                writer.append(bodies(1)),
            )

        assert with_writer(url, work) == [None, ANSWER, None, None]
        assert recorded(url) == 3

    def test_after_a_day_a_key_is_free_again(self, url, bodies, monkeypatch):
        name, later = Name("alice", "one"), Stored(b"later", "application/json", b"later")
        with_writer(url, lambda writer: writer.append(bodies(1), name, ANSWER))
        monkeypatch.setattr(writing, "KEPT", timedelta(0))
        assert with_writer(url, lambda writer: writer.append(bodies(1), name, later)) is None
        with existing(url).begin() as connection:
            assert connection.execute(select(answers.c.content)).scalars().all() == [b"later"]


class TestFailure:
    def test_a_file_that_was_deleted_is_noticed(self, tmp_path, bodies):
        file = tmp_path / "ledger.db"

        async def work(writer):
            await writer.append(bodies(1))
            file.rename(tmp_path / "moved.db")
            with pytest.raises(LedgerUnavailable):
                await writer.append(bodies(1))
            with pytest.raises(LedgerUnavailable):
                await writer.append(bodies(1))

        with_writer(f"sqlite:///{file}", work)

    def test_a_full_disk_is_noticed_and_nothing_is_half_written(self, tmp_path, bodies):
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)

        async def work(writer):
            await writer.append(bodies(1))
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, limits[1]))
            try:
                with pytest.raises(LedgerUnavailable):
                    await writer.append(bodies(2000))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            await writer.append(bodies(3))

        with_writer(url, work)
        assert found(url) == (1, 4, 0, [])

    def test_a_server_that_goes_away_is_noticed_and_used_again_when_it_is_back(self, server, bodies):
        url = server.database()

        async def work(writer):
            await writer.append(bodies(1))
            server.stop()
            try:
                with pytest.raises(LedgerUnavailable):
                    await writer.append(bodies(1))
            finally:
                server.start()
            await writer.append(bodies(1))

        with_writer(url, work)
        assert found(url) == (1, 2, 0, [])

    def test_a_server_that_was_restarted_while_nothing_was_written_costs_nobody_an_answer(
        self, server, bodies, monkeypatch
    ):
        monkeypatch.setattr(writing, "ASKED_AFTER_SECONDS", 0.0)
        url = server.database()

        async def work(writer):
            await writer.append(bodies(1))
            server.stop()
            server.start()
            await writer.append(bodies(1))

        with_writer(url, work)
        assert found(url) == (1, 2, 0, [])

    def test_at_its_deadline_a_caller_hears_that_the_ledger_is_late(self, url, bodies):
        gate = threading.Event()

        async def work(writer):
            await writer.open()
            writer.thread.submit(gate.wait)
            now = asyncio.get_running_loop().time()
            patient = asyncio.create_task(writer.append(bodies(1), deadline=now + 60))
            with pytest.raises(LedgerUnavailable, match="within the time"):
                await writer.append(bodies(1), deadline=now + 0.01)
            assert not patient.done()
            gate.set()
            await patient

        with_writer(url, work)
        assert found(url) == (1, 2, 0, [])  # also that which came too late for its caller

    def test_after_a_certificate_that_cannot_be_recorded_others_can(self, url, bodies):
        (twice,) = bodies(1)

        async def work(writer):
            await writer.append([twice])
            with pytest.raises(LedgerUnavailable):
                await writer.append([twice])
            await writer.append(bodies(1))

        with_writer(url, work)
        assert found(url) == (1, 2, 0, [])

    def test_a_caller_who_goes_away_takes_nothing_from_the_others(self, url, bodies):
        async def work(writer):
            tasks = [asyncio.create_task(writer.append(bodies(1))) for _ in range(3)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        first, gone, last = with_writer(url, work)
        assert (first, last) == (None, None)
        assert isinstance(gone, asyncio.CancelledError)
        assert found(url).faults == []

    @pytest.mark.parametrize(
        "wrong", ["", "ledger.db", "sqlite://", "sqlite:///:memory:", "mysql://secret@host/x"]
    )
    def test_another_url_is_refused_without_being_told(self, wrong):
        with pytest.raises(SettingsError, match="ledger_url") as refused:
            connect(wrong)
        assert "secret" not in str(refused.value)


def test_a_new_file_that_another_process_opens_at_the_same_time_is_tried_again():
    class Contended(sqlite3.Connection):
        refusals = 3

        def execute(self, statement):
            if self.refusals:
                self.refusals -= 1
                raise sqlite3.OperationalError("database is locked")
            return super().execute(statement)

    with closing(sqlite3.connect(":memory:", factory=Contended)) as connection:
        write_ahead(connection)
        assert connection.refusals == 0
