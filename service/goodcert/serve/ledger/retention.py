"""Pruning of the oldest certificates, in such a way that the chain of the others can still be verified."""

from sqlalchemy import Connection, delete, func, select

from goodcert.serve.ledger.chain import Link
from goodcert.serve.ledger.damage import DIGEST_BYTES, Damaged, raw
from goodcert.serve.ledger.tables import certificates, checkpoints, head
from goodcert.serve.ledger.writer import write_base
from goodcert.serve.proof.signing import Signer


def prune(connection: Connection, before: str, signer: Signer | None) -> int:
    """Delete all certificates in front of the first one that was issued at `before` or later; returns how many.

    What stays begins at a checkpoint, signed where there is a signer, that stands for what went. In the caller's
    transaction, which locks the head: all or nothing. Raises Damaged where what stays could not begin there.
    """
    c = certificates.c
    connection.execute(select(head.c.seq).with_for_update()).one()
    kept = connection.execute(select(func.min(c.seq)).where(c.issued_at >= before)).scalar()
    query = select(raw(c.seq), raw(c.digest)).order_by(c.seq.desc()).limit(1)
    row = connection.execute(query if kept is None else query.where(c.seq < kept)).first()
    if row is None:
        return 0
    base = Link(*row)
    if not isinstance(base.digest, bytes) or len(base.digest) != DIGEST_BYTES:
        raise Damaged(f"certificate {base.seq}: its digest is no {DIGEST_BYTES} bytes, so nothing was deleted")
    write_base(connection, base, signer)
    connection.execute(delete(checkpoints).where(checkpoints.c.seq < base.seq))
    return connection.execute(delete(certificates).where(c.seq <= base.seq)).rowcount
