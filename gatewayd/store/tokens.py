"""Token ids, scopes, revocations: table and statements. The token itself is never stored."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import asdict, dataclass

from sqlalchemy import bindparam, func, insert, select, update

from gatewayd.ids import MailboxId, TokenId
from gatewayd.store.database import Tx
from gatewayd.store.prepared import PreparedRows
from gatewayd.store.schema import tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One row."""

    token_id: TokenId
    mailbox_id: MailboxId
    key_id: str
    name: str
    scopes: list[str]
    hourly: int | None
    daily: int | None
    allowed_recipient_domains: list[str] | None
    sandbox: bool
    issued_at: dt.datetime
    expires_at: dt.datetime
    revoked_at: dt.datetime | None


_ALL = select(*tokens.c)
_BY_IDS = PreparedRows(
    select(*(tokens.c[name] for name in TokenRow.__slots__)).where(
        tokens.c.token_id.in_(bindparam("ids", expanding=True))
    ),
    TokenRow,
    remembered=1000,
)
_REVOKE = (
    update(tokens)
    .where(tokens.c.token_id == bindparam("id"), tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)
_REVOKE_OF_MAILBOX = (
    update(tokens)
    .where(tokens.c.mailbox_id == bindparam("mailbox"), tokens.c.revoked_at.is_(None))
    .values(revoked_at=bindparam("at"))
)


def add(tx: Tx, row: TokenRow) -> None:
    tx.execute(insert(tokens), asdict(row))


def by_ids(tx: Tx, ids: Collection[TokenId]) -> dict[TokenId, TokenRow]:
    if not ids:
        return {}
    return {row.token_id: row for row in _BY_IDS.made(tx, {"ids": list(ids)})}


def in_order(tx: Tx, mailbox_id: MailboxId | None) -> list[TokenRow]:
    """Every token, or those of one mailbox, the oldest first."""
    query = _ALL.order_by(tokens.c.issued_at, tokens.c.token_id)
    if mailbox_id is not None:
        query = query.where(tokens.c.mailbox_id == mailbox_id)
    return [TokenRow(**row._mapping) for row in tx.execute(query)]


def revoke(tx: Tx, token_id: TokenId) -> bool:
    """End a token. False: there is none, or it was ended before."""
    return tx.execute(_REVOKE, {"id": token_id, "at": tx.now}).rowcount == 1


def revoke_of_mailbox(tx: Tx, mailbox_id: MailboxId) -> int:
    """End every token of a mailbox; how many there were."""
    return tx.execute(_REVOKE_OF_MAILBOX, {"mailbox": mailbox_id, "at": tx.now}).rowcount


def count_live_of_other_keys(tx: Tx, key_id: str) -> int:
    """How many tokens that can still be used were signed by another key."""
    query = select(func.count()).where(
        tokens.c.revoked_at.is_(None), tokens.c.expires_at > tx.now, tokens.c.key_id != key_id
    )
    return int(tx.execute(query).scalar_one())
