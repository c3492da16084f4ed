"""DSNs owed to submitters: table and statements.

An outbox: a row is written with the state that the submitter wants to hear of, and removed in the
transaction that puts the DSN into the queue. So none is lost, and none is sent twice.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from sqlalchemy import bindparam, delete, select

from gatewayd.ids import QueueId, RecipientId
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_claim
from gatewayd.store.schema import notices


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """One recipient whose submitter is to be told.

    action: failed, delayed, delivered, relayed or expanded (RFC 3464 2.3.3).
    data: of the event that is told.
    """

    notice_id: str
    queue_id: QueueId
    recipient_id: RecipientId
    action: str
    data: dict[str, Any]
    created_at: dt.datetime


_INSERT = BulkInsert(notices, NoticeRow.__slots__)
_values = attrgetter(*NoticeRow.__slots__)
_OLDEST = lock_to_claim(select(*notices.c).order_by(notices.c.notice_id).limit(bindparam("count")))
_ANY = select(notices.c.notice_id).order_by(notices.c.notice_id).limit(1)
_WAITING = select(notices.c.notice_id).where(
    notices.c.notice_id.in_(bindparam("ids", expanding=True))
)
_REMOVE = delete(notices).where(notices.c.notice_id.in_(bindparam("ids", expanding=True)))


def add(tx: Tx, rows: Sequence[NoticeRow]) -> None:
    _INSERT.write(tx, [_values(row) for row in rows])


def is_any(tx: Tx) -> bool:
    """Whether anything is owed, to us or to another node; locks nothing."""
    return tx.execute(_ANY).first() is not None


def take(tx: Tx, limit: int) -> list[NoticeRow]:
    """The oldest, kept from every other node until this transaction ends; none that others hold."""
    return [NoticeRow(**row._mapping) for row in tx.execute(_OLDEST, {"count": limit})]


def waiting(tx: Tx, ids: Collection[str]) -> set[str]:
    """Those of these that are still owed."""
    found: set[str] = set()
    for some in chunks(sorted(ids)):
        found.update(tx.execute(_WAITING, {"ids": some}).scalars())
    return found


def remove(tx: Tx, ids: Collection[str]) -> None:
    for some in chunks(sorted(ids)):
        tx.execute(_REMOVE, {"ids": some})
