"""Whoever can write to the database and changes something is found out."""

import json

import pytest
from sqlalchemy import delete, insert, select, update

from goodcert.serve.ledger.audit import audit
from goodcert.serve.ledger.chain import ORIGIN, Checkpoint, Link, read_checkpoint, sign_checkpoint
from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.reader import Reader
from goodcert.serve.ledger.retention import prune
from goodcert.serve.ledger.rows import row_of
from goodcert.serve.ledger.tables import certificates, checkpoints, head
from goodcert.serve.proof.signing import Signer, create_key, read_keys

C = certificates.c


@pytest.fixture
def ledger(url, record, bodies, signer):
    """An engine for a ledger of twelve certificates with checkpoints at 4, 8 and 12."""
    for _ in range(3):
        record(bodies(4), signer=signer)
    return existing(url, writes=True)


def faults(ledger, keys, held=None):
    with ledger.begin() as connection:
        return audit(connection, keys, held).faults


def tamper(ledger, *statements):
    with ledger.begin() as connection:
        for statement in statements:
            connection.execute(statement)


def rewrite(ledger, change):
    """What somebody does who knows how the chain is made: all digests anew, the head too."""
    with ledger.begin() as connection:
        rows = connection.execute(select(certificates).order_by(C.seq)).all()
        connection.execute(delete(certificates))
        link = ORIGIN
        for row in change(rows):
            link = link.then(row.body)
            connection.execute(insert(certificates).values(row_of(link, json.loads(row.body), row.body)))
        connection.execute(update(head).values(seq=link.seq, digest=link.digest))


def newest(ledger, keys):
    return read_checkpoint(Reader(ledger).checkpoint(), keys).link


def test_a_ledger_that_nobody_touched_is_whole(ledger, keys):
    held = newest(ledger, keys)
    with ledger.begin() as connection:
        found = audit(connection, keys, held)
    assert found == (1, 12, 3, [])


def test_an_empty_ledger_is_whole(url, record, keys, signer):
    record([], signer=signer)
    with existing(url).begin() as connection:
        assert audit(connection, keys) == (1, 0, 0, [])


def test_every_edited_byte_of_a_certificate_is_found(ledger, keys):
    with ledger.connect() as connection:
        body = connection.execute(select(C.body).where(C.seq == 6)).scalar_one()
        connection.rollback()
        for place in range(0, len(body), 7):
            edited = bytes([*body[:place], body[place] ^ 1, *body[place + 1 :]])
            with connection.begin() as transaction:
                connection.execute(update(certificates).where(C.seq == 6).values(body=edited))
                assert "certificate 6" in audit(connection, keys).faults[0]
                transaction.rollback()


@pytest.mark.parametrize(
    "change",
    [{"verdict": "in_distribution"}, {"model": "other"}, {"version": "2"}, {"issued_at": "2027"}, {"id": "x"},
     {"digest": bytes(32)}],
)  # fmt: skip
def test_an_edited_column_is_found(ledger, keys, change):
    tamper(ledger, update(certificates).where(C.seq == 6).values(change))
    assert "certificate 6" in faults(ledger, keys)[0]


@pytest.mark.parametrize("gone", [1, 6, 11])
def test_a_deletion_is_found(ledger, keys, gone):
    tamper(ledger, delete(certificates).where(C.seq == gone))
    assert f"certificate {gone} is missing" in faults(ledger, keys)[0]


def test_a_deletion_is_found_although_the_others_close_up(ledger, keys):
    tamper(
        ledger, delete(certificates).where(C.seq == 12),
        update(head).values(seq=11, digest=select(C.digest).where(C.seq == 11).scalar_subquery()),
    )  # fmt: skip
    assert "cut off" in faults(ledger, keys)[0]


def test_a_swap_is_found(ledger, keys):
    places = (5, 99), (6, 5), (99, 6)
    tamper(ledger, *(update(certificates).where(C.seq == old).values(seq=new) for old, new in places))
    assert "certificate 5" in faults(ledger, keys)[0]


def test_a_cut_at_the_end_is_found_by_the_head(ledger, keys):
    tamper(ledger, delete(certificates).where(C.seq > 9), delete(checkpoints).where(checkpoints.c.seq > 8))
    assert "head" in faults(ledger, keys)[0]


def test_a_cut_that_hides_all_its_traces_is_found_by_a_checkpoint_that_was_kept(ledger, keys):
    held = newest(ledger, keys)
    rewrite(ledger, lambda rows: rows[:9])
    tamper(ledger, delete(checkpoints).where(checkpoints.c.seq > 8))
    assert faults(ledger, keys) == []  # nothing in the database shows it
    assert "cut off" in faults(ledger, keys, held)[0]


def test_a_chain_written_anew_is_found_by_the_checkpoints(ledger, keys):
    held = newest(ledger, keys)
    rewrite(ledger, lambda rows: [row for row in rows if row.seq != 2])
    assert "checkpoint" in faults(ledger, keys)[0]
    tamper(ledger, delete(checkpoints))
    assert faults(ledger, keys) == []
    assert faults(ledger, keys, held)


def test_checkpoints_cannot_be_written_anew_without_the_key(ledger, keys, tmp_path):
    rewrite(ledger, lambda rows: rows[:-1])
    create_key(tmp_path / "thief")
    thief = Signer(read_keys(tmp_path / "thief"))
    with ledger.begin() as connection:
        link = Link(*connection.execute(select(head.c.seq, head.c.digest)).one())
        connection.execute(delete(checkpoints))
        forged = sign_checkpoint(Checkpoint(link, base=False), "now", thief)
        row = {"seq": link.seq, "digest": link.digest, "made_at": "now", "base": False}
        connection.execute(insert(checkpoints).values(row | {"jws": forged}))
    assert "none of the keys" in faults(ledger, keys)[0]
    tamper(ledger, update(checkpoints).values(jws=None))
    assert "not signed" in faults(ledger, keys)[0]


def test_a_signed_checkpoint_of_another_place_is_found(ledger, keys):
    other = select(checkpoints.c.jws).where(checkpoints.c.seq == 4).scalar_subquery()
    tamper(ledger, update(checkpoints).where(checkpoints.c.seq == 8).values(jws=other))
    assert "checkpoint 8" in faults(ledger, keys)[0]


def test_a_beginning_that_was_deleted_is_not_taken_for_pruned(ledger, keys):
    tamper(
        ledger, delete(certificates).where(C.seq <= 4),
        update(checkpoints).where(checkpoints.c.seq == 4).values(base=True),
    )  # fmt: skip
    assert "checkpoint 4" in faults(ledger, keys)[0]


class TestPruning:
    def pruned(self, ledger, signer, before="2026-01-01T00:00:06.000000Z"):
        with ledger.begin() as connection:
            return prune(connection, before, signer)

    def test_what_stays_is_still_verifiable_and_goes_on(self, ledger, keys, signer, record, bodies):
        assert self.pruned(ledger, signer) == 6
        with ledger.begin() as connection:
            assert audit(connection, keys) == (7, 12, 3, [])
        assert self.pruned(ledger, signer) == 0
        record(bodies(3), signer=signer)
        held = newest(ledger, keys)
        with ledger.begin() as connection:
            assert audit(connection, keys, held) == (7, 15, 4, [])

    def test_everything_may_go(self, ledger, keys, signer, record, bodies):
        assert self.pruned(ledger, signer, "2030") == 12
        record(bodies(2), signer=signer)
        with ledger.begin() as connection:
            assert audit(connection, keys) == (13, 14, 2, [])

    def test_a_checkpoint_from_before_that_was_kept_still_fits(self, ledger, keys, signer):
        held = newest(ledger, keys)
        self.pruned(ledger, signer)
        assert faults(ledger, keys, held) == []

    def test_a_deletion_behind_the_beginning_is_found(self, ledger, keys, signer):
        self.pruned(ledger, signer)
        tamper(ledger, delete(certificates).where(C.seq == 7))
        assert "certificate 7 is missing" in faults(ledger, keys)[0]

    def test_a_beginning_that_nobody_signed_is_found(self, ledger, keys):
        self.pruned(ledger, None)
        assert "not signed" in faults(ledger, keys)[0]
        assert faults(ledger, None) == []
