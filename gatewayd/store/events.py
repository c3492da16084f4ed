"""Append-only event log: table and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, func, select

from gatewayd.ids import EventId, MailboxId, QueueId, RecipientId
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.database import Tx
from gatewayd.store.schema import events

UNSORTED: Final = dt.timedelta(minutes=1)
"""So much earlier than its neighbours may an event of a late transaction be, at the most."""

_LONG_AGO: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


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


_INSERT = BulkInsert(
    events, ("event_id", "type", "at", "mailbox_id", "queue_id", "recipient_id", "data")
)
_ALL = select(*events.c).order_by(events.c.seq).limit(bindparam("count"))
_OF_MESSAGE = _ALL.where(events.c.queue_id == bindparam("id"), events.c.seq > bindparam("after"))
_OF_MAILBOX = _ALL.where(events.c.mailbox_id == bindparam("id"), events.c.seq > bindparam("after"))
_OF_TYPES = _ALL.where(
    events.c.queue_id == bindparam("id"), events.c.type.in_(bindparam("types", expanding=True))
)
_OWNED = (
    select(events.c.seq)
    .where(events.c.queue_id == bindparam("id"), events.c.mailbox_id == bindparam("owner"))
    .limit(1)
)
_FIRST = select(func.min(events.c.seq))
_LAST = select(func.max(events.c.seq))
_NEXT = (
    select(events.c.seq, events.c.at)
    .where(events.c.seq >= bindparam("from"))
    .order_by(events.c.seq)
    .limit(1)
)


def append(tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write events, in order: every column but `seq`."""
    _INSERT.run(tx, rows)


def append_values(tx: Tx, rows: Sequence[Sequence[Any]]) -> None:
    """Write events, in order: the values of every column of EventRow but `seq`, in theirs."""
    _INSERT.write(tx, rows)


def of_message(tx: Tx, queue_id: QueueId, *, after: int = 0, limit: int = 1000) -> list[EventRow]:
    """What happened to one message after `after`, in order."""
    rows = tx.execute(_OF_MESSAGE, {"id": queue_id, "after": after, "count": limit})
    return [EventRow(**row._mapping) for row in rows]


def of_message_by_type(
    tx: Tx, queue_id: QueueId, types: Collection[str], *, limit: int
) -> list[EventRow]:
    """What happened to one message under these words, in order."""
    rows = tx.execute(_OF_TYPES, {"id": queue_id, "types": sorted(types), "count": limit})
    return [EventRow(**row._mapping) for row in rows]


def of_mailbox(tx: Tx, mailbox_id: MailboxId, *, after: int, limit: int) -> list[EventRow]:
    """What happened to one mailbox and its mail after `after`, in order."""
    rows = tx.execute(_OF_MAILBOX, {"id": mailbox_id, "after": after, "count": limit})
    return [EventRow(**row._mapping) for row in rows]


def is_owned(tx: Tx, queue_id: QueueId, mailbox_id: MailboxId) -> bool:
    """Whether the log knows this message as one of the mailbox; rows outlive messages."""
    return tx.execute(_OWNED, {"id": queue_id, "owner": mailbox_id}).first() is not None


def before(tx: Tx, at: dt.datetime) -> int:
    """A `seq` such that what happened at `at` or later stands after it; 0 when it is the first.

    `at` grows with `seq`, but for transactions that were late, so it is halved like a dictionary:
    the log may be long, and has no index by time.
    """
    first, last = tx.execute(_FIRST).scalar_one(), tx.execute(_LAST).scalar_one()
    if first is None:
        return 0
    wanted = max(at, _LONG_AGO) - UNSORTED
    low, high = int(first), int(last) + 1  # all before `low` is too early
    while low < high:
        middle = (low + high) // 2
        found = tx.execute(_NEXT, {"from": middle}).first()
        if found is None or found.at >= wanted:
            high = middle
        else:
            low = int(found.seq) + 1
    return low - 1


def after(tx: Tx, seq: int, *, limit: int) -> list[EventRow]:
    """What happened since, in order."""
    query = select(*events.c).where(events.c.seq > seq).order_by(events.c.seq).limit(limit)
    return [EventRow(**row._mapping) for row in tx.execute(query)]
