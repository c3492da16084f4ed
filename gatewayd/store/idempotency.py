"""Acceptances that must not happen twice: table and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter

from sqlalchemy import bindparam, delete, select

from gatewayd.ids import MailboxId, QueueId
from gatewayd.store.bulk import BulkInsert
from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change
from gatewayd.store.prepared import PreparedRows
from gatewayd.store.schema import idempotency


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyRow:
    """One row."""

    mailbox_id: MailboxId
    key: str
    fingerprint: bytes
    queue_id: QueueId
    expires_at: dt.datetime


_INSERT = BulkInsert(idempotency, IdempotencyRow.__slots__)
_BY_KEYS = PreparedRows(
    lock_to_change(
        select(*(idempotency.c[name] for name in IdempotencyRow.__slots__))
        .where(
            idempotency.c.mailbox_id.in_(bindparam("mailboxes", expanding=True)),
            idempotency.c.key.in_(bindparam("keys", expanding=True)),
        )
        .order_by(idempotency.c.mailbox_id, idempotency.c.key)
    ),
    IdempotencyRow,
)
_values = attrgetter(*IdempotencyRow.__slots__)
_ONE = delete(idempotency).where(
    idempotency.c.mailbox_id == bindparam("mailbox"), idempotency.c.key == bindparam("word")
)
_ENDED = delete(idempotency).where(idempotency.c.expires_at < bindparam("before"))


def find(
    tx: Tx, keys: Collection[tuple[MailboxId, str]]
) -> dict[tuple[MailboxId, str], IdempotencyRow]:
    """What was accepted before under these keys, expired or not."""
    wanted = set(keys)
    # Lists of both parts, not of pairs: SQLite seeks for these, and would scan for those.
    mailboxes = sorted({mailbox for mailbox, _ in wanted})
    found: dict[tuple[MailboxId, str], IdempotencyRow] = {}
    for some in chunks(sorted({key for _, key in wanted})):
        for row in _BY_KEYS.made(tx, {"mailboxes": mailboxes, "keys": some}):
            if (row.mailbox_id, row.key) in wanted:
                found[row.mailbox_id, row.key] = row
    return found


def add(tx: Tx, rows: Sequence[IdempotencyRow]) -> None:
    _INSERT.write(tx, [_values(row) for row in rows])


def forget(tx: Tx, keys: Collection[tuple[MailboxId, str]]) -> None:
    """Make these keys free again."""
    if keys:
        tx.execute(_ONE, [{"mailbox": mailbox, "word": key} for mailbox, key in sorted(keys)])


def remove_expired(tx: Tx) -> int:
    return tx.execute(_ENDED, {"before": tx.now}).rowcount
