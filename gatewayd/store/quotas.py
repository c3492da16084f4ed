"""Counters by token and window: table and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, delete, select

from gatewayd.ids import TokenId
from gatewayd.store.bulk import BulkUpdate
from gatewayd.store.database import Tx
from gatewayd.store.dialect import lock_to_change
from gatewayd.store.prepared import Prepared
from gatewayd.store.schema import quotas

QuotaKey = tuple[TokenId, str, dt.datetime]  # token, hour or day, start of the window

_BY_TOKENS = Prepared(
    lock_to_change(
        select(quotas.c.token_id, quotas.c.window, quotas.c.starts_at, quotas.c.used)
        .where(
            quotas.c.token_id.in_(bindparam("tokens", expanding=True)),
            quotas.c.starts_at >= bindparam("since"),
        )
        .order_by(quotas.c.token_id, quotas.c.window, quotas.c.starts_at)
    )
)
_SET = BulkUpdate(quotas, ("token_id", "window", "starts_at"), ("used",))
_ENDED = delete(quotas).where(quotas.c.starts_at < bindparam("before"))


def take(tx: Tx, keys: Collection[QuotaKey]) -> dict[QuotaKey, int]:
    """The counters of these windows, locked until this transaction ends; made when new."""
    if not keys:
        return {}
    counters = _load(tx, keys)
    missing = sorted(set(keys) - counters.keys())
    if missing:
        tx.execute(
            tx.insert(quotas).on_conflict_do_nothing(),
            [{"token_id": t, "window": w, "starts_at": s, "used": 0} for t, w, s in missing],
        )
        counters = _load(tx, keys)
    return counters


def put(tx: Tx, counters: Mapping[QuotaKey, int]) -> None:
    _SET.write(tx, [(*key, used) for key, used in counters.items()])


def remove_ended(tx: Tx, before: dt.datetime) -> int:
    """Forget windows that started before then."""
    return tx.execute(_ENDED, {"before": before}).rowcount


def _load(tx: Tx, keys: Collection[QuotaKey]) -> dict[QuotaKey, int]:
    wanted = set(keys)
    rows = _BY_TOKENS.run(
        tx, {"tokens": sorted({key[0] for key in wanted}), "since": min(key[2] for key in wanted)}
    )
    found = {(token, window, starts_at): used for token, window, starts_at, used in rows}
    return {key: used for key, used in found.items() if key in wanted}
