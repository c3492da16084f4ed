"""Forget what is past its time: messages at rest, idempotency keys, ended quota windows.

A message on which anything is owed is never touched. Its spool file goes after its row, so a crash
between the two leaves a file that nobody needs, not a row without octets.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from typing import Final

from gatewayd.config.storage import RetentionSection
from gatewayd.spool.port import SpoolPort
from gatewayd.store import idempotency, messages, quotas
from gatewayd.store.database import Database, Tx

BATCH: Final = 200  # messages in one transaction
QUOTAS_KEPT: Final = dt.timedelta(days=3)
ORPHANS_KEPT: Final = dt.timedelta(hours=1)
_OPEN: Final = ("queued", "claimed", "in_doubt", "held")


class Retention:
    """What a daemon forgets."""

    def __init__(self, database: Database, spool: SpoolPort, section: RetentionSection) -> None:
        self._database = database
        self._spool = spool
        self._kept = dt.timedelta(seconds=section.messages_s)

    async def sweep(self, now: dt.datetime) -> int:
        """Forget everything that is past its time; how many messages that was."""
        await self._database.write(idempotency.remove_expired)
        await self._database.write(lambda tx: quotas.remove_ended(tx, now - QUOTAS_KEPT))
        forgotten = 0
        while True:
            keys = await self._database.write(lambda tx: self._forget(tx, now - self._kept))
            forgotten += len(keys)
            for key in filter(None, keys):
                self._spool.delete(key)
            if len(keys) < BATCH:
                return forgotten

    async def sweep_spool(self, older_than: dt.datetime | None) -> int:
        """Remove spool files that no message needs; None: of any age, when nobody else writes."""
        loop = asyncio.get_running_loop()

        def referenced(keys: Sequence[str]) -> set[str]:
            future = asyncio.run_coroutine_threadsafe(self._referenced(keys), loop)
            return future.result()

        return await asyncio.to_thread(self._spool.sweep, referenced, older_than)

    async def _referenced(self, keys: Sequence[str]) -> set[str]:
        return await self._database.read(lambda tx: messages.referenced(tx, keys))

    def _forget(self, tx: Tx, before: dt.datetime) -> list[str | None]:
        rows = messages.at_rest_before(tx, before, open_states=_OPEN, limit=BATCH)
        messages.remove(tx, [queue_id for queue_id, _ in rows])
        return [spool_key for _, spool_key in rows]
