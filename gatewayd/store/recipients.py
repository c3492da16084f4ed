"""One row per forward-path, the queue itself: table and statements.

What moves work between workers (claims, leases, outcomes) is in `claims.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update

from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.store import claims
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change
from gatewayd.store.prepared import Prepared
from gatewayd.store.schema import QUEUED, messages, recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRow:
    """One row. `notify` holds words joined by commas; `due_at` is None when nothing is due.

    What came back stands from `bounced_at` on: each with the time when it was first known.
    """

    recipient_id: RecipientId
    queue_id: QueueId
    position: int
    lane: str
    forward_path: str
    notify: str
    orcpt: str | None
    state: str
    attempts: int
    due_at: dt.datetime | None
    attempt_id: AttemptId | None
    reply_code: int | None
    reply_status: str | None
    reason: str
    delivered_at: dt.datetime | None
    updated_at: dt.datetime
    bounced_at: dt.datetime | None = None
    bounce_class: str | None = None
    bounce_reason: str | None = None
    delayed_at: dt.datetime | None = None
    complained_at: dt.datetime | None = None
    unsubscribed_at: dt.datetime | None = None
    opened_at: dt.datetime | None = None
    clicked_at: dt.datetime | None = None
    machine_opened_at: dt.datetime | None = None
    machine_clicked_at: dt.datetime | None = None


_INSERT = BulkInsert(
    recipients,
    (
        "recipient_id",
        "queue_id",
        "position",
        "lane",
        "forward_path",
        "notify",
        "orcpt",
        "state",
        "attempts",
        "due_at",
        "attempt_id",
        "reason",
        "updated_at",
    ),
)
_ALL = select(*recipients.c)
_OF_MESSAGES = _ALL.where(recipients.c.queue_id.in_(bindparam("ids", expanding=True))).order_by(
    recipients.c.queue_id, recipients.c.position
)
_ADDRESSES = Prepared(
    select(recipients.c.queue_id, recipients.c.recipient_id, recipients.c.forward_path)
    .where(recipients.c.queue_id.in_(bindparam("ids", expanding=True)))
    .order_by(recipients.c.queue_id, recipients.c.position)
)
_LOCKED = lock_to_change(
    _ALL.where(recipients.c.queue_id == bindparam("id")).order_by(recipients.c.recipient_id)
)
_BEFORE = (
    select(recipients.c.recipient_id)
    .where(
        recipients.c.state == QUEUED,
        recipients.c.lane == bindparam("of"),
        recipients.c.due_at < bindparam("due"),
    )
    .limit(bindparam("count"))
)
# The last to be due are those that were deferred last, and the index ends with them.
_DEFERRED = (
    select(recipients.c.reason, recipients.c.attempts, recipients.c.updated_at)
    .where(recipients.c.state == QUEUED, recipients.c.lane == bindparam("of"))
    .order_by(
        recipients.c.lane.desc(), recipients.c.due_at.desc(), recipients.c.recipient_id.desc()
    )
    .limit(bindparam("count"))
)
_COUNT = select(recipients.c.state, func.count().label("recipients")).group_by(recipients.c.state)
_DEPTH = select(func.count()).where(recipients.c.state == QUEUED)


def add(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write new recipients: every column up to the first attempt, and who holds them already."""
    _INSERT.run(tx, rows)


def of_messages(tx: Tx, ids: Collection[QueueId]) -> dict[QueueId, list[RecipientRow]]:
    """The recipients of each message, in the order in which they were given."""
    found: dict[QueueId, list[RecipientRow]] = {}
    for some in chunks(sorted(ids)):
        for row in tx.execute(_OF_MESSAGES, {"ids": some}):
            found.setdefault(row.queue_id, []).append(RecipientRow(**row._mapping))
    return found


def addresses(tx: Tx, ids: Collection[QueueId]) -> dict[QueueId, list[tuple[RecipientId, str]]]:
    """Ids and forward-paths of each message, in order."""
    found: dict[QueueId, list[tuple[RecipientId, str]]] = {}
    for some in chunks(sorted(ids)):
        for queue_id, recipient_id, forward_path in _ADDRESSES.run(tx, {"ids": some}):
            found.setdefault(queue_id, []).append((recipient_id, forward_path))
    return found


def locked(tx: Tx, queue_id: QueueId) -> list[RecipientRow]:
    """The recipients of one message, kept from every worker until this transaction ends."""
    return [RecipientRow(**row._mapping) for row in tx.execute(_LOCKED, {"id": queue_id})]


def change(
    tx: Tx,
    ids: Collection[RecipientId],
    *,
    state: str,
    due_at: dt.datetime | None,
    reason: str,
    attempts: int | None = None,
) -> None:
    """Move recipients that no worker holds; `attempts` starts the count anew.

    `reason` is not what a next hop said, so the last reply goes; the events keep it.
    """
    values: dict[str, Any] = {
        "state": state,
        "due_at": due_at,
        "reply_code": None,
        "reply_status": None,
        "reason": reason,
        "updated_at": tx.now,
    }
    if attempts is not None:
        values["attempts"] = attempts
    for some in chunks(sorted(ids)):
        tx.execute(update(recipients).where(recipients.c.recipient_id.in_(some)).values(**values))


def count_before(tx: Tx, lane: str, due_at: dt.datetime, *, limit: int) -> int:
    """How many queued recipients of a lane are due before then; counted up to `limit`."""
    rows = tx.execute(_BEFORE, {"of": lane, "due": due_at, "count": limit})
    return len(rows.scalars().all())


def last_deferral(tx: Tx, lane: str, *, looked_at: int = 50) -> tuple[dt.datetime, str] | None:
    """When the latest of a lane's recipients was deferred, and why, as far as the last ones say."""
    rows = tx.execute(_DEFERRED, {"of": lane, "count": looked_at})
    tried = [(row.updated_at, row.reason) for row in rows if row.attempts]
    return max(tried, default=None)


def count_by_state(tx: Tx) -> dict[str, int]:
    return {row.state: row.recipients for row in tx.execute(_COUNT)}


def depth(tx: Tx) -> tuple[int, dt.datetime | None]:
    """How many recipients are queued, and when the first was, or will be, due."""
    oldest = min((due_at for _, due_at in claims.lanes(tx)), default=None)
    return int(tx.execute(_DEPTH).scalar_one()), oldest


def owed_by(tx: Tx, mailbox_id: MailboxId) -> int:
    """How many recipients of a mailbox have not come to rest."""
    query = (
        select(func.count())
        .select_from(recipients.join(messages, messages.c.queue_id == recipients.c.queue_id))
        .where(
            messages.c.mailbox_id == mailbox_id,
            recipients.c.state.in_(["queued", "claimed", "in_doubt", "held"]),
        )
    )
    return int(tx.execute(query).scalar_one())
