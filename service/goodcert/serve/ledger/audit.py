"""Looking for what was changed: the chain walked anew, from the first row or the last pruning to the head."""

from collections.abc import Iterator
from typing import NamedTuple

import orjson
from joserfc.jwk import KeySet
from sqlalchemy import Connection, Row, select

from goodcert.serve.ledger.chain import ORIGIN, Checkpoint, Link, read_checkpoint
from goodcert.serve.ledger.rows import row_of
from goodcert.serve.ledger.tables import certificates, checkpoints, head
from goodcert.serve.proof.signing import SignatureRefused

_AT_ONCE = 1000


class Audit(NamedTuple):
    """first, last: numbers of the rows walked. checkpoints: how many there are for them. faults: what was found, a
    sentence each."""

    first: int
    last: int
    checkpoints: int
    faults: list[str]


def audit(connection: Connection, keys: KeySet | None, held: Link | None = None) -> Audit:
    """Walk the ledger. keys: those that may have signed its checkpoints; without them only digests are compared.
    held: a checkpoint that the caller kept elsewhere, already verified."""
    marks = {row.seq: row for row in connection.execute(select(checkpoints).order_by(checkpoints.c.seq))}
    faults = [fault for row in marks.values() if (fault := _wrong_signature(row, keys))]
    base = max((row.seq for row in marks.values() if row.base), default=0)
    start = Link(base, marks[base].digest) if base else ORIGIN
    expected = {row.seq: row.digest for row in marks.values()}
    if held is not None:
        if held.seq in expected and expected[held.seq] != held.digest:
            faults.append(f"checkpoint {held.seq} in the ledger is not the one that was kept")
        expected[held.seq] = held.digest
    last, found = _walk(connection, start, expected)
    faults += found
    faults += [
        f"certificate {seq}, which a checkpoint has, is missing: the end was cut off"
        for seq in sorted(expected) if seq > last.seq
    ][:1]  # fmt: skip
    if Link(*connection.execute(select(head.c.seq, head.c.digest)).one()) != last:
        faults.append(f"the last certificate is number {last.seq}, which the head of the chain contradicts")
    return Audit(start.seq + 1, last.seq, sum(start.seq <= seq <= last.seq for seq in marks), faults)


def _walk(connection: Connection, link: Link, expected: dict[int, bytes]) -> tuple[Link, list[str]]:
    """The last link, and the first fault: after it nothing can be told."""
    if link.seq in expected and expected[link.seq] != link.digest:
        return link, [f"certificates up to {link.seq} were pruned, but not those that the checkpoint has"]
    for row in _rows(connection, link.seq):
        after = link.then(row.body)
        if row.seq != after.seq:
            return link, [f"certificate {after.seq} is missing: the next one there is {row.seq}"]
        if row.digest != after.digest:
            return link, [f"certificate {row.seq} (id {row.id}) is not what was recorded, or not in its place"]
        if row_of(after, orjson.loads(row.body), row.body) != tuple(row):
            return link, [f"certificate {row.seq} (id {row.id}): a column says something else than its text"]
        if expected.get(row.seq, row.digest) != row.digest:
            return link, [f"certificates up to {row.seq} were written anew: a checkpoint has another digest"]
        link = after
    return link, []


def _rows(connection: Connection, seq: int) -> Iterator[Row[tuple[object, ...]]]:
    """All after `seq`, in order, some at a time."""
    while rows := connection.execute(
        select(certificates).where(certificates.c.seq > seq).order_by(certificates.c.seq).limit(_AT_ONCE)
    ).all():
        yield from rows
        seq = rows[-1].seq


def _wrong_signature(row: Row[tuple[object, ...]], keys: KeySet | None) -> str | None:
    if keys is None:
        return None
    if row.jws is None:
        return f"checkpoint {row.seq} is not signed"
    try:
        same = read_checkpoint(row.jws, keys) == Checkpoint(Link(row.seq, row.digest), row.base)
    except SignatureRefused as error:
        return f"checkpoint {row.seq}: {error}"
    return None if same else f"checkpoint {row.seq} was signed for something else"
