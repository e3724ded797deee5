"""What triggers raised and nobody has received yet, and triggers whose receiver wants no more."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("raised_at", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("due_at", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.create_index("outbox_due", "outbox", ["trigger", "reason", "due_at"])
    op.create_table(
        "disabled",
        sa.Column("trigger", sa.Text, primary_key=True),
        sa.Column("since", sa.Text, nullable=False),
    )
