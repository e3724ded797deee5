"""Verification of the hash chain, from the first row or the last pruning to the head."""

from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

from joserfc.jwk import KeySet
from sqlalchemy import Connection

from goodcert.serve.ledger.chain import ORIGIN, Checkpoint, Link, read_checkpoint
from goodcert.serve.ledger.damage import AnyRow, Damaged, body_of, certificate_name, damage, rows
from goodcert.serve.ledger.rows import row_of
from goodcert.serve.ledger.tables import certificates, checkpoints, head
from goodcert.serve.proof.claims import shown
from goodcert.serve.proof.signing import SignatureRefused

MOST_FAULTS = 20
"""Of a chain that was shifted every row is at fault: so many are told."""


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
    marks, faults = _marks(connection, keys)
    base = max((mark.link for mark in marks if mark.base), default=ORIGIN)
    expected = {mark.link.seq: mark.link.digest for mark in marks}
    if held is not None:
        if expected.get(held.seq, held.digest) != held.digest:
            faults.append(f"checkpoint {held.seq} in the ledger is not the one that was kept")
        expected[held.seq] = held.digest
    if expected.get(base.seq, base.digest) != base.digest:
        faults.append(f"certificates up to {base.seq} were pruned, but not those that the checkpoint has")
    walk = _Walk(base, expected)
    with closing(rows(connection, certificates)) as found:
        walk.through(found)
    faults += walk.faults or [*walk.cut_off(), *_about_head(connection, walk.last)]
    return Audit(
        base.seq + 1, walk.last.seq, sum(base.seq <= mark.link.seq <= walk.last.seq for mark in marks), faults
    )


class _Walk:
    """From row to row. A damaged one is named, and the walk goes on from what the row says of itself and from what
    it should say: the next one follows one of the two, or is at fault, too."""

    def __init__(self, base: Link, expected: dict[int, bytes]) -> None:
        self.faults: list[str] = []
        self.last = base
        self._base, self._expected = base, expected
        self._ends = [base]

    def through(self, found: Iterator[AnyRow]) -> None:
        for row in found:
            if fault := self._step(row):
                self.faults.append(fault)
            if len(self.faults) == MOST_FAULTS:
                self.faults.append("what comes after it was not looked at")
                return

    def cut_off(self) -> list[str]:
        missing = [seq for seq in sorted(self._expected) if seq > self.last.seq]
        return [
            f"certificate {seq}, which a checkpoint has, is missing: the end was cut off" for seq in missing[:1]
        ]

    def _step(self, row: AnyRow) -> str | None:
        """What is wrong with this row, or with what should be in front of it."""
        seq, name = row.seq, certificate_name(row)
        if type(seq) is not int or seq <= self._base.seq:
            return f"{name}: {damage(row, certificates) or f'the chain begins after {self._base.seq}'}"
        wanted = self.last.seq + 1
        if seq < wanted:
            return f"{name} is there twice"
        readable = seq == wanted and isinstance(row.body, bytes)
        afters = [end.then(row.body) for end in self._ends] if readable else []
        lost = not self._ends
        fault = damage(row, certificates)
        told = [] if fault else [Link(seq, row.digest)]
        self._ends = told + [after for after in afters if after not in told]
        self.last = self._ends[0] if self._ends else Link(seq, b"")
        if seq > wanted:
            return f"certificate {wanted} is missing: the next one there is {seq}"
        if fault:
            return f"{name} is not what was recorded: {fault}"
        return self._changed(row, name, follows=lost or self.last in afters)

    def _changed(self, row: AnyRow, name: str, *, follows: bool) -> str | None:
        """Of a row that is well-formed. follows: whether it does the one before, or nobody can tell."""
        link = self.last
        if not follows:
            return f"{name} is not what was recorded, or not in its place"
        self._ends = [link]
        try:
            if row_of(link, body_of(row.seq, row.body), row.body) != tuple(row):
                return f"{name}: a column says something else than its text"
        except Damaged as error:
            return str(error)
        except (KeyError, TypeError):
            return f"{name}: its body is no certificate"
        if self._expected.get(link.seq, link.digest) != link.digest:
            return f"certificates up to {link.seq} were written anew: a checkpoint has another digest"
        return None


def _marks(connection: Connection, keys: KeySet | None) -> tuple[list[Checkpoint], list[str]]:
    """The checkpoints that can be read, and what is wrong with any."""
    marks: list[Checkpoint] = []
    faults: list[str] = []
    for row in rows(connection, checkpoints):
        if fault := damage(row, checkpoints):
            faults.append(f"checkpoint {shown(row.seq)} is not what was recorded: {fault}")
            continue
        mark = Checkpoint(Link(row.seq, row.digest), bool(row.base))
        marks.append(mark)
        if fault := _wrong_signature(mark, row.jws, keys):
            faults.append(fault)
    return marks, faults


def _wrong_signature(mark: Checkpoint, token: str | None, keys: KeySet | None) -> str | None:
    seq = mark.link.seq
    if keys is None:
        return None
    if token is None:
        return f"checkpoint {seq} is not signed"
    try:
        same = read_checkpoint(token, keys) == mark
    except SignatureRefused as error:
        return f"checkpoint {seq}: {error}"
    return None if same else f"checkpoint {seq} was signed for something else"


def _about_head(connection: Connection, last: Link) -> Iterator[str]:
    found = list(rows(connection, head))
    if len(found) != 1:
        yield f"the head of the chain is there {len(found)} times, expected once"
    elif fault := damage(found[0], head):
        yield f"the head of the chain is not what was recorded: {fault}"
    elif Link(found[0].seq, found[0].digest) != last:
        yield f"the last certificate is number {last.seq}, which the head of the chain contradicts"
