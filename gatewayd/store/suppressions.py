"""Suppressed addresses: table and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import bindparam, delete, or_, select

from gatewayd.store.chunks import chunks
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change
from gatewayd.store.prepared import PreparedRows
from gatewayd.store.schema import suppressions

ALL: Final = "*"  # the scope that holds for every mailbox


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionRow:
    """One row. `scope` is a mailbox_id or ALL."""

    scope: str
    address_key: str
    address: str
    reason: str
    source: str
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    expires_at: dt.datetime | None


_LIVE = or_(suppressions.c.expires_at.is_(None), suppressions.c.expires_at > bindparam("now"))
_FIND = PreparedRows(
    select(*(suppressions.c[name] for name in SuppressionRow.__slots__)).where(
        suppressions.c.scope.in_(bindparam("scopes", expanding=True)),
        suppressions.c.address_key.in_(bindparam("keys", expanding=True)),
        _LIVE,
    ),
    SuppressionRow,
)
_LOCKED = lock_to_change(
    select(*suppressions.c)
    .where(
        suppressions.c.scope == bindparam("of"),
        suppressions.c.address_key.in_(bindparam("keys", expanding=True)),
    )
    .order_by(suppressions.c.address_key)
)
_ANY = select(suppressions.c.scope).where(_LIVE).limit(1)
_REMOVE = delete(suppressions).where(
    suppressions.c.scope == bindparam("of"), suppressions.c.address_key == bindparam("key")
)


def find(tx: Tx, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], SuppressionRow]:
    """The live rows that keep mail of these scopes from these keys, by (scope, key).

    Those of every mailbox are found too.
    """
    pairs = {*wanted, *((ALL, key) for _, key in wanted)}
    # Lists of both parts, not of pairs: SQLite seeks for these, and would scan for those.
    scopes = sorted({scope for scope, _ in pairs})
    found: dict[tuple[str, str], SuppressionRow] = {}
    for some in chunks(sorted({key for _, key in pairs})):
        for row in _FIND.made(tx, {"scopes": scopes, "keys": some, "now": tx.now}):
            if (row.scope, row.address_key) in pairs:
                found[row.scope, row.address_key] = row
    return found


def are_any(tx: Tx, scope: str) -> bool:
    """Whether any live row could concern this mailbox."""
    query = _ANY.where(suppressions.c.scope.in_([scope, ALL]))
    return tx.execute(query, {"now": tx.now}).first() is not None


def put(tx: Tx, row: SuppressionRow) -> None:
    """Add a row; one that is there keeps its `first_seen_at` and gets the rest."""
    statement = tx.insert(suppressions).values(asdict(row))
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["scope", "address_key"],
            set_={
                "reason": row.reason,
                "source": row.source,
                "last_seen_at": row.last_seen_at,
                "expires_at": row.expires_at,
            },
        )
    )


def add_new(tx: Tx, rows: Collection[SuppressionRow]) -> set[tuple[str, str]]:
    """Add rows, no two of them with the same scope and key; (scope, key) of those added.

    The others are there, and stay as they are until `locked` is asked: of two nodes that add the
    same, one waits for the other here, and finds it then.
    """
    if not rows:
        return set()
    statement = tx.insert(suppressions).on_conflict_do_nothing(
        index_elements=["scope", "address_key"]
    )
    added = tx.execute(
        statement.returning(suppressions.c.scope, suppressions.c.address_key),
        [asdict(row) for row in _in_order(rows)],
    )
    return {(row.scope, row.address_key) for row in added}


def locked(tx: Tx, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], SuppressionRow]:
    """The rows with these (scope, key), over or not, kept from others in this transaction."""
    found: dict[tuple[str, str], SuppressionRow] = {}
    by_scope: dict[str, list[str]] = {}
    for scope, key in sorted(wanted):
        by_scope.setdefault(scope, []).append(key)
    for scope, keys in by_scope.items():
        for some in chunks(keys):
            for row in tx.execute(_LOCKED, {"of": scope, "keys": some}):
                found[row.scope, row.address_key] = SuppressionRow(**row._mapping)
    return found


def put_all(tx: Tx, rows: Collection[SuppressionRow]) -> None:
    """As `put`, for rows of which no two have the same scope and key."""
    if not rows:
        return
    statement = tx.insert(suppressions)
    new = statement.excluded
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["scope", "address_key"],
            set_={
                "reason": new.reason,
                "source": new.source,
                "last_seen_at": new.last_seen_at,
                "expires_at": new.expires_at,
            },
        ),
        [asdict(row) for row in _in_order(rows)],
    )


def remove(tx: Tx, *, scope: str, key: str) -> bool:
    return tx.execute(_REMOVE, {"of": scope, "key": key}).rowcount == 1


def in_order(
    tx: Tx, *, scope: str | None, after: tuple[str, str] | None, limit: int
) -> list[SuppressionRow]:
    """A page of rows by (address_key, scope), expired ones included."""
    query = select(*suppressions.c).order_by(suppressions.c.address_key, suppressions.c.scope)
    if scope is not None:
        query = query.where(suppressions.c.scope == scope)
    if after is not None:
        key, last = after
        query = query.where(
            or_(
                suppressions.c.address_key > key,
                (suppressions.c.address_key == key) & (suppressions.c.scope > last),
            )
        )
    rows = tx.execute(query.limit(limit))
    return [SuppressionRow(**row._mapping) for row in rows]


def _in_order(rows: Collection[SuppressionRow]) -> list[SuppressionRow]:
    """As every statement takes rows, so that two nodes never wait for each other."""
    return sorted(rows, key=lambda row: (row.scope, row.address_key))
