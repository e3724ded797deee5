"""The tables of the database, as the newest migration leaves them (migrations/versions)."""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # there only INTEGER is the row id itself

certificates = Table(
    "certificates",
    metadata,
    Column("seq", _NUMBER, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("issued_at", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("certificates_issued_at", "issued_at"),
)
"""One row a certificate. body: the bytes of its JSON, which `digest` covers (chain.py); the other columns are
copies for finding it."""

head = Table(
    "head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("seq", _NUMBER, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)
"""One row: the link of the last certificate. Who appends holds its lock."""

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", _NUMBER, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    Column("made_at", Text, nullable=False),
    Column("base", Boolean, nullable=False),
    Column("jws", Text),
)
"""Links, signed where there is a key. base: the certificates up to here were pruned."""

answers = Table(
    "answers",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("made_at", Text, nullable=False, index=True),
)
"""Answers to requests with an Idempotency-Key, by caller and key."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("trigger", Text, nullable=False),
    Column("raised_at", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("due_at", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("reason", Text),
    Column("traceparent", Text),
    Index("outbox_due", "trigger", "reason", "due_at"),
)
"""What triggers raised, until it is received. attempts: those that were begun. reason: why a letter is dead, null
while it is not. traceparent: the span of the request that raised it, null where none was made."""

disabled = Table(
    "disabled",
    metadata,
    Column("trigger", Text, primary_key=True),
    Column("since", Text, nullable=False),
)
"""Triggers whose receiver answered 410."""
