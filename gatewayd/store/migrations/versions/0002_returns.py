"""What comes back: facts of a recipient, what is made for each alone, DSNs owed to submitters."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INSTANTS = (
    "delayed_at",
    "complained_at",
    "unsubscribed_at",
    "opened_at",
    "clicked_at",
    "machine_opened_at",
    "machine_clicked_at",
)


def upgrade() -> None:
    op.add_column(
        "mailboxes",
        sa.Column("unsubscribe", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    op.add_column("messages", sa.Column("track", sa.Text(), server_default="", nullable=False))
    op.add_column(
        "messages",
        sa.Column("unsubscribe", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("recipients", sa.Column("bounced_at", sa.BigInteger()))
    op.add_column("recipients", sa.Column("bounce_class", sa.Text()))
    op.add_column("recipients", sa.Column("bounce_reason", sa.Text()))
    for name in _INSTANTS:
        op.add_column("recipients", sa.Column(name, sa.BigInteger()))
    op.create_table(
        "notices",
        sa.Column("notice_id", sa.Text(), nullable=False),
        sa.Column("queue_id", sa.Text(), nullable=False),
        sa.Column("recipient_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("notices_pkey")),
    )
