"""Every column with a secret under MultiFernet: count and re-encrypt, a row at a time.

| table     | column            |
|-----------|-------------------|
| mailboxes | next_hop_password |
| dkim_keys | private_key       |
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select

from gatewayd import failpoints
from gatewayd.store import dkim_keys, mailboxes
from gatewayd.store.database import Database, Tx
from gatewayd.store.schema import dkim_keys as dkim_table
from gatewayd.store.schema import mailboxes as mailbox_table


async def reseal_all(database: Database, reseal: Callable[[str], str]) -> int:
    """Put every secret under the active key; how many changed. Interrupted, it is run again."""
    changed = 0
    for mailbox_id, text in await database.read(mailboxes.sealed):
        fresh = reseal(text)
        if fresh != text:
            values = {"next_hop_password": fresh}
            await database.write(lambda tx, m=mailbox_id, v=values: mailboxes.change(tx, m, v))  # type: ignore[misc]  # defaults bind the loop's values
            failpoints.reach("rotate_row")
            changed += 1
    for row in await database.read(dkim_keys.in_order):
        fresh = reseal(row.private_key)
        if fresh != row.private_key:
            await database.write(
                lambda tx, r=row, f=fresh: dkim_keys.reseal(tx, r.domain, r.selector, f)  # type: ignore[misc]  # defaults bind the loop's values
            )
            failpoints.reach("rotate_row")
            changed += 1
    return changed


def count_without(tx: Tx, prefix: str) -> int:
    """How many secrets are under another key than the one with this prefix."""
    counted = 0
    for column in (mailbox_table.c.next_hop_password, dkim_table.c.private_key):
        query = select(func.count()).where(
            column.is_not(None), func.substr(column, 1, len(prefix)) != prefix
        )
        counted += int(tx.execute(query).scalar_one())
    return counted
