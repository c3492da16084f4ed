"""Append-only event log: table and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select

from gatewayd.ids import EventId, MailboxId, QueueId, RecipientId
from gatewayd.store.database import Tx
from gatewayd.store.schema import events


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One row; `seq` grows with every event and is never given twice."""

    seq: int
    event_id: EventId
    type: str
    at: dt.datetime
    mailbox_id: MailboxId | None
    queue_id: QueueId | None
    recipient_id: RecipientId | None
    data: dict[str, Any]


_INSERT = insert(events)
_OF_MESSAGE = (
    select(*events.c).where(events.c.queue_id == bindparam("id")).order_by(events.c.seq)
).limit(bindparam("count"))


def append(tx: Tx, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        tx.execute(_INSERT, rows)


def of_message(tx: Tx, queue_id: QueueId, *, limit: int = 1000) -> list[EventRow]:
    """What happened to one message, in order."""
    rows = tx.execute(_OF_MESSAGE, {"id": queue_id, "count": limit})
    return [EventRow(**row._mapping) for row in rows]


def after(tx: Tx, seq: int, *, limit: int) -> list[EventRow]:
    """What happened since, in order."""
    query = select(*events.c).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
    return [EventRow(**row._mapping) for row in tx.execute(query)]
