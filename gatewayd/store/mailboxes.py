"""Mailboxes: table and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from gatewayd.ids import MailboxId
from gatewayd.store.database import Tx
from gatewayd.store.prepared import PreparedRows
from gatewayd.store.schema import mailboxes


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxRow:
    """One row. `next_hop_password` is sealed."""

    mailbox_id: MailboxId
    address: str
    address_key: str
    display_name: str | None
    next_hop_host: str | None
    next_hop_port: int | None
    next_hop_tls_mode: str | None
    next_hop_user: str | None
    next_hop_password: str | None
    next_hop_ca_file: str | None
    tracking: str
    track_smtp: bool
    on_in_doubt: str
    created_at: dt.datetime
    updated_at: dt.datetime
    unsubscribe: bool = True


_ALL = select(*mailboxes.c)
_BY_IDS = PreparedRows(
    select(*(mailboxes.c[name] for name in MailboxRow.__slots__)).where(
        mailboxes.c.mailbox_id.in_(bindparam("ids", expanding=True))
    ),
    MailboxRow,
    remembered=1000,
)
_BY_KEY = _ALL.where(mailboxes.c.address_key == bindparam("key"))
_SEALED = (
    select(mailboxes.c.mailbox_id, mailboxes.c.next_hop_password)
    .where(mailboxes.c.next_hop_password.is_not(None))
    .order_by(mailboxes.c.mailbox_id)
)


def add(tx: Tx, row: MailboxRow) -> None:
    tx.execute(insert(mailboxes), asdict(row))


def by_ids(tx: Tx, ids: Collection[MailboxId]) -> dict[MailboxId, MailboxRow]:
    if not ids:
        return {}
    return {row.mailbox_id: row for row in _BY_IDS.made(tx, {"ids": list(ids)})}


def by_address_key(tx: Tx, key: str) -> MailboxRow | None:
    row = tx.execute(_BY_KEY, {"key": key}).one_or_none()
    return MailboxRow(**row._mapping) if row else None


def in_order(tx: Tx) -> list[MailboxRow]:
    """Every mailbox, by address."""
    rows = tx.execute(_ALL.order_by(mailboxes.c.address))
    return [MailboxRow(**row._mapping) for row in rows]


def change(tx: Tx, mailbox_id: MailboxId, values: dict[str, Any]) -> None:
    tx.execute(update(mailboxes).where(mailboxes.c.mailbox_id == mailbox_id).values(**values))


def remove(tx: Tx, mailbox_id: MailboxId) -> None:
    tx.execute(delete(mailboxes).where(mailboxes.c.mailbox_id == mailbox_id))


def sealed(tx: Tx) -> Sequence[tuple[MailboxId, str]]:
    """Every row with a stored password, for re-encryption."""
    return [(row.mailbox_id, row.next_hop_password) for row in tx.execute(_SEALED)]
