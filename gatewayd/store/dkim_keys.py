"""Signing keys of domains: table and statements. Private keys are sealed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from gatewayd.store.database import Tx
from gatewayd.store.schema import dkim_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class DkimKeyRow:
    """One row."""

    domain: str
    selector: str
    algorithm: str
    private_key: str
    created_at: dt.datetime


_ALL = select(*dkim_keys.c).order_by(dkim_keys.c.domain, dkim_keys.c.selector)
_OF_DOMAIN = _ALL.where(dkim_keys.c.domain == bindparam("of"))
_RESEAL = (
    update(dkim_keys)
    .where(dkim_keys.c.domain == bindparam("of"), dkim_keys.c.selector == bindparam("name"))
    .values(private_key=bindparam("sealed"))
)


def add(tx: Tx, rows: Sequence[DkimKeyRow]) -> None:
    tx.execute(insert(dkim_keys), [asdict(row) for row in rows])


def of_domain(tx: Tx, domain: str) -> list[DkimKeyRow]:
    rows = tx.execute(_OF_DOMAIN, {"of": domain})
    return [DkimKeyRow(**row._mapping) for row in rows]


def in_order(tx: Tx) -> list[DkimKeyRow]:
    return [DkimKeyRow(**row._mapping) for row in tx.execute(_ALL)]


def remove(tx: Tx, domain: str) -> int:
    return tx.execute(delete(dkim_keys).where(dkim_keys.c.domain == domain)).rowcount


def reseal(tx: Tx, domain: str, selector: str, private_key: str) -> None:
    tx.execute(_RESEAL, {"of": domain, "name": selector, "sealed": private_key})
