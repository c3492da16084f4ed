"""Suppressed addresses, for readers: statements. What mail waits for is in suppressions.py."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select

from gatewayd.store.database import Tx
from gatewayd.store.schema import suppressions
from gatewayd.store.suppressions import SuppressionRow


def of_scope(  # noqa: PLR0913 - each is one condition
    tx: Tx,
    scope: str,
    *,
    after: str | None,
    limit: int,
    reason: str | None = None,
    source: str | None = None,
    is_live: bool | None = None,
) -> list[SuppressionRow]:
    """A page of one scope's rows by address_key; `after` is the last of the page before.

    is_live: True for rows that have an effect now, False for those that are over.
    """
    columns = suppressions.c
    conditions: list[Any] = [columns.scope == scope]
    if after is not None:
        conditions.append(columns.address_key > after)
    if reason is not None:
        conditions.append(columns.reason == reason)
    if source is not None:
        conditions.append(columns.source == source)
    if is_live is True:
        conditions.append(or_(columns.expires_at.is_(None), columns.expires_at > tx.now))
    if is_live is False:
        conditions.append(columns.expires_at <= tx.now)
    query = select(*columns).where(*conditions).order_by(columns.address_key).limit(limit)
    return [SuppressionRow(**row._mapping) for row in tx.execute(query)]


def entry(tx: Tx, scope: str, address_key: str) -> SuppressionRow | None:
    """One row, whether it has an effect or not."""
    query = select(*suppressions.c).where(
        suppressions.c.scope == scope, suppressions.c.address_key == address_key
    )
    row = tx.execute(query).one_or_none()
    return SuppressionRow(**row._mapping) if row else None
