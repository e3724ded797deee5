"""Rows that no service wrote: each is named, whatever it is made of, and nothing ends in a traceback."""

import pytest
from sqlalchemy import text

from goodcert.cli import main as cli
from goodcert.serve.ledger.audit import MOST_FAULTS, audit
from goodcert.serve.ledger.damage import Damaged
from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.reader import Reader

COLUMNS = ("id", "model", "version", "verdict", "issued_at", "digest", "body")


@pytest.fixture
def ledger(url, record, bodies, signer):
    """Twelve certificates, a checkpoint at 12; its tables made anew, so that no constraint protects them."""
    record(bodies(12), signer=signer)
    engine = existing(url, writes=True)
    for table in ("certificates", "checkpoints", "head"):
        for words in (
            ("CREATE TABLE copy AS SELECT * FROM", table),
            ("DROP TABLE", table),
            ("ALTER TABLE copy RENAME TO", table),
        ):
            run(engine, " ".join(words))
    return engine


def run(engine, *statements):
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def literal(engine, data):
    return f"'\\x{data.hex()}'" if engine.dialect.name == "postgresql" else f"x'{data.hex()}'"


def put(engine, assignment, table="certificates", seq=None):
    """Of one certificate, or of the whole table."""
    run(engine, " ".join(("UPDATE", table, "SET", assignment, f"WHERE seq = {seq}" if seq else "")))


def faults(engine, keys=None):
    with engine.begin() as connection:
        return audit(connection, keys).faults


def after(engine, assignment, keys=None, table="certificates", seq=None):
    """The faults once it is so, and then it is not so any more."""
    with engine.connect() as connection, connection.begin() as transaction:
        where = f"WHERE seq = {seq}" if seq else ""
        connection.execute(text(" ".join(("UPDATE", table, "SET", assignment, where))))
        found = audit(connection, keys).faults
        transaction.rollback()
    return found


@pytest.fixture
def loose(ledger):
    """The same, where any column keeps any type."""
    if ledger.dialect.name != "sqlite":
        pytest.skip("only SQLite does")
    return ledger


def retype(engine, table, column, kind="text"):
    """PostgreSQL keeps other types only where the column has another one."""
    if engine.dialect.name == "postgresql":
        using = f"encode({column}, 'hex')" if column in ("body", "digest") else f"{column}::{kind}"
        run(engine, f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind} USING {using}")


def test_without_its_constraints_a_ledger_is_still_whole(ledger, keys):
    assert faults(ledger, keys) == []


def test_a_value_that_is_gone_is_named_with_its_row(ledger):
    for column in COLUMNS:
        (fault,) = after(ledger, f"{column} = NULL", seq=6)
        assert fault.startswith("certificate 6")
        assert f"its {column} is NULL, expected" in fault


def test_a_number_that_is_gone_is_told_and_so_is_the_gap(ledger):
    put(ledger, "seq = NULL", seq=6)
    assert {fault.split(" (id")[0].split(":")[0] for fault in faults(ledger)} == {
        "certificate None", "certificate 6 is missing",
    }  # fmt: skip


@pytest.mark.parametrize("column", ["digest", "body"])
def test_bytes_that_became_text_are_named(ledger, column):
    if ledger.dialect.name == "postgresql":
        retype(ledger, "certificates", column)
    else:
        put(ledger, f"{column} = 'text'", seq=6)
    named = [fault for fault in faults(ledger) if fault.startswith("certificate 6 ")]
    assert f"its {column} is text, expected bytes" in named[0]


def test_a_value_of_any_type_in_any_column_is_named(loose):
    for column in COLUMNS:
        for value in ("7", "1.5", "'7'", "x'ff'", "CAST(x'ff' AS TEXT)"):
            (fault,) = after(loose, f"{column} = {value}", seq=6)
            assert fault.startswith("certificate 6")
            assert fault.isprintable()


def test_a_number_of_any_type_is_named(loose):
    for value in ("'six'", "6.5", "x'06'"):
        found = after(loose, f"seq = {value}", seq=6)
        assert any("its seq is" in fault for fault in found)
        assert any("certificate 6 is missing" in fault for fault in found)


def test_a_digest_of_another_length_is_named(ledger):
    for length in (0, 31, 33):
        (fault,) = after(ledger, f"digest = {literal(ledger, bytes(length))}", seq=6)
        assert fault.startswith("certificate 6")
        assert f"has {length} bytes, expected 32" in fault


@pytest.mark.parametrize("seq", [0, -3])
def test_a_row_in_front_of_the_first_one_is_named(ledger, seq):
    columns = "id, model, version, verdict, issued_at, digest, body"
    run(
        ledger,
        " ".join(("INSERT INTO certificates SELECT", f"{seq}, {columns}", "FROM certificates WHERE seq = 6")),
    )
    (fault,) = faults(ledger)
    assert fault.startswith(f"certificate {seq} ")
    assert "the chain begins after 0" in fault


def test_a_row_that_is_there_twice_is_named(ledger):
    run(ledger, "INSERT INTO certificates SELECT * FROM certificates WHERE seq = 6")
    (fault,) = faults(ledger)
    assert fault.startswith("certificate 6 ")
    assert fault.endswith("is there twice")


def test_every_damaged_row_is_named_and_none_beside_it(ledger):
    put(ledger, "body = (SELECT body FROM certificates WHERE seq = 12)", seq=3)
    put(ledger, "digest = (SELECT digest FROM certificates WHERE seq = 12)", seq=6)
    put(ledger, "verdict = 'other'", seq=9)
    assert [fault.split(" (id")[0] for fault in faults(ledger)] == [
        "certificate 3", "certificate 6", "certificate 9",
    ]  # fmt: skip


def test_of_a_row_without_body_and_digest_nothing_follows_for_the_next_one(ledger):
    put(ledger, "body = NULL, digest = NULL", seq=6)
    (fault,) = faults(ledger)
    assert fault.startswith("certificate 6 ")


def test_of_a_chain_that_was_shifted_so_much_is_told(ledger):
    put(ledger, "digest = body")
    assert len(faults(ledger)) == 12
    run(ledger, *["INSERT INTO certificates SELECT * FROM certificates"] * 2)
    assert len(faults(ledger)) == MOST_FAULTS + 1
    assert faults(ledger)[-1] == "what comes after it was not looked at"


def test_a_damaged_checkpoint_is_named(ledger, keys):
    for column, seq in (("digest", 12), ("seq", None), ("base", 12)):
        found = after(ledger, f"{column} = NULL", keys, "checkpoints")
        assert found[0].startswith(f"checkpoint {seq} is not what was recorded: its {column} is NULL")


def test_a_checkpoint_whose_signature_is_none_is_named(loose, keys):
    for value in ("7", "x'00'", "'not signed'", "'\u00df'"):
        assert after(loose, f"jws = {value}", keys, "checkpoints")[0].startswith("checkpoint 12")


def test_a_damaged_head_is_named(ledger):
    for column, kind in (("digest", "bytes"), ("seq", "a whole number")):
        (fault,) = after(ledger, f"{column} = NULL", table="head")
        assert fault == f"the head of the chain is not what was recorded: its {column} is NULL, expected {kind}"
    for statement, times in (("INSERT INTO head SELECT * FROM head", 2), ("DELETE FROM head", 0)):
        run(ledger, statement)
        assert faults(ledger) == [f"the head of the chain is there {times} times, expected once"]


class TestWhoeverReadsADamagedRow:
    @pytest.fixture
    def damaged(self, ledger):
        put(ledger, "body = NULL", seq=12)
        return ledger

    def test_is_told_which_one_it_is(self, damaged):
        reader = Reader(damaged)
        assert reader.certificate(f"{5:032x}")
        with pytest.raises(Damaged, match="certificate 12: its body is NULL, expected bytes"):
            reader.certificate(f"{11:032x}")

    @pytest.mark.usefixtures("damaged")
    def test_is_told_by_the_command_line_too(self, url, tmp_path, capsys):
        assert cli.main(["ledger", "verify", "--url", url]) == 1
        assert "certificate 12" in capsys.readouterr().out
        assert cli.main(["ledger", "export", str(tmp_path / "out.csv"), "--url", url]) == 2
        assert "certificate 12: its body is NULL" in capsys.readouterr().err

    def test_cannot_begin_a_chain_there(self, ledger, url, capsys):
        put(ledger, "digest = NULL", seq=12)
        assert cli.main(["ledger", "prune", "--url", url, "--before", "2030-01-01"]) == 2
        assert "certificate 12: its digest is no 32 bytes" in capsys.readouterr().err


def test_a_body_that_is_no_json_is_named_where_it_is_read(ledger):
    put(ledger, f"body = {literal(ledger, b'{')}", seq=12)
    with pytest.raises(Damaged, match="certificate 12: its body is no JSON"):
        Reader(ledger).certificate(f"{11:032x}")
    assert faults(ledger)[0].startswith("certificate 12 ")


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path, capsys):
    (tmp_path / "ledger.db").write_text("not a database, although it is long enough to have a header of one" * 20)
    assert cli.main(["ledger", "verify", "--url", f"sqlite:///{tmp_path / 'ledger.db'}"]) == 2
    assert "not a database" in capsys.readouterr().err
