"""keep(tx, rows): addresses onto the list, by the rules of what is there already.

| on the list before         | written          | news |
|----------------------------|------------------|------|
| nothing, or what is over   | the row          | yes  |
| another word or end        | `rules.merged`   | yes  |
| the same, or more than it  | when it was seen | no   |

Two nodes that have the same address at the same moment come to the same row: what is new is added
first, and what is there is read only when it is locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatewayd.store import suppressions
from gatewayd.store.database import Tx
from gatewayd.store.suppressions import SuppressionRow
from gatewayd.suppression import rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of one row. is_added: nothing held before. is_news: the list is another now."""

    row: SuppressionRow
    is_added: bool
    is_news: bool


def keep(tx: Tx, rows: Sequence[SuppressionRow]) -> list[Kept]:
    """Put rows on the list; what became of each, in order.

    Of several with the same scope and key each is held against those before it.
    """
    given = {(row.scope, row.address_key): row for row in reversed(rows)}  # the first of each
    added = suppressions.add_new(tx, given.values())
    there = suppressions.locked(tx, given.keys() - added)
    written = there | {at: given[at] for at in added}
    now = dict(there)
    kept: list[Kept] = []
    for row in rows:
        at = (row.scope, row.address_key)
        before = now.get(at)
        now[at] = row if before is None else rules.merged(before, row, tx.now)
        is_added = before is None or rules.is_over(before, tx.now)
        is_news = before is None or is_added or _differ(before, now[at])
        kept.append(Kept(row=now[at], is_added=is_added, is_news=is_news))
    # One that was taken away between the two statements above is in none of them.
    suppressions.put_all(tx, [row for at, row in now.items() if row != written.get(at)])
    return kept


def _differ(one: SuppressionRow, other: SuppressionRow) -> bool:
    """Whether they differ in more than when they were seen."""
    return (one.reason, one.source, one.expires_at) != (
        other.reason,
        other.source,
        other.expires_at,
    )
