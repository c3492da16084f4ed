"""What is known of a recipient from its URLs: opened, clicked, unsubscribed. Statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Literal, NamedTuple, get_args

from sqlalchemy import bindparam, select, update

from gatewayd.ids import MailboxId, QueueId, RecipientId
from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change
from gatewayd.store.schema import messages, recipients

Fact = Literal[
    "opened_at", "clicked_at", "machine_opened_at", "machine_clicked_at", "unsubscribed_at"
]


class TrackedRow(NamedTuple):
    """A recipient as far as its URLs concern it; each time is the first.

    A tuple, because they come by thousands.
    """

    recipient_id: RecipientId
    queue_id: QueueId
    forward_path: str
    state: str
    delivered_at: dt.datetime | None
    opened_at: dt.datetime | None
    clicked_at: dt.datetime | None
    machine_opened_at: dt.datetime | None
    machine_clicked_at: dt.datetime | None
    unsubscribed_at: dt.datetime | None


_LOCKED = lock_to_change(
    select(
        recipients.c.recipient_id,
        recipients.c.queue_id,
        recipients.c.forward_path,
        recipients.c.state,
        recipients.c.delivered_at,
        recipients.c.opened_at,
        recipients.c.clicked_at,
        recipients.c.machine_opened_at,
        recipients.c.machine_clicked_at,
        recipients.c.unsubscribed_at,
    )
    .where(recipients.c.recipient_id.in_(bindparam("ids", expanding=True)))
    .order_by(recipients.c.recipient_id)
)
_OWNERS = (
    select(messages.c.queue_id, messages.c.mailbox_id)
    .where(messages.c.queue_id.in_(bindparam("ids", expanding=True)))
    .order_by(messages.c.queue_id)
)
_KEEP = {
    fact: update(recipients)
    .where(recipients.c.recipient_id.in_(bindparam("ids", expanding=True)))
    .values({fact: bindparam("at")})
    for fact in get_args(Fact)
}


def locked(tx: Tx, ids: Collection[RecipientId]) -> dict[RecipientId, TrackedRow]:
    """Those of these recipients that there still are, kept from others until the transaction ends.

    Their order is that of every other statement that locks recipients.
    """
    found: dict[RecipientId, TrackedRow] = {}
    for some in chunks(sorted(ids)):
        rows = map(TrackedRow._make, tx.execute(_LOCKED, {"ids": some}).all())
        found.update({row.recipient_id: row for row in rows})
    return found


def owners(tx: Tx, ids: Collection[QueueId]) -> dict[QueueId, MailboxId]:
    """Whose messages these are."""
    found: dict[QueueId, MailboxId] = {}
    for some in chunks(sorted(ids)):
        found.update({row.queue_id: row.mailbox_id for row in tx.execute(_OWNERS, {"ids": some})})
    return found


def keep(tx: Tx, fact: Fact, ids: Collection[RecipientId], *, at: dt.datetime) -> None:
    """Set a fact of recipients that are locked and have it not yet."""
    for some in chunks(sorted(ids)):
        tx.execute(_KEEP[fact], {"ids": some, "at": at})
