"""Events: what happened, by mailbox with a position to go on from, or by message.

A reader that asks again and again must meet each event once. A transaction takes its number
(`seq`) before it commits, so where several nodes write, a lower number may appear after a higher
one. Nothing is shown therefore that is younger than the horizon, or that stands after such an
event: a transaction that ends within half of it is always seen. One node numbers in the order of
its commits and needs none.

| reader            | order | horizon                    | position                              |
|-------------------|-------|----------------------------|---------------------------------------|
| `of_mailbox`      | seq   | 5 s where nodes share      | of the last event that was looked at  |
| `of_message`      | seq   | none: it is a look, no log | of the last event that was shown      |
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from gatewayd.errors import Code, Refused
from gatewayd.events.types import EventType
from gatewayd.ids import MailboxId, QueueId
from gatewayd.store import events
from gatewayd.store.database import Database, Tx
from gatewayd.store.events import EventRow

HORIZON: Final = dt.timedelta(seconds=5)
LOOKED_AT: Final = 2000  # rows for one page: a rare word does not cost a walk through the log


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events a reader wants; None means any.

    types: these words only.
    since: what happened then or later.
    """

    types: frozenset[EventType] | None = None
    queue_id: QueueId | None = None
    since: dt.datetime | None = None

    def takes(self, row: EventRow) -> bool:
        return (
            (self.types is None or row.type in self.types)
            and (self.queue_id is None or row.queue_id == self.queue_id)
            and (self.since is None or row.at >= self.since)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events, the oldest first.

    position: where to go on, now or when more has happened.
    has_more: there is more to look at already; `items` may be empty all the same.
    """

    items: tuple[EventRow, ...]
    position: int
    has_more: bool


class Events:
    """The log from the outside."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._horizon = dt.timedelta(0) if database.dialect.has_single_node else HORIZON

    async def of_mailbox(
        self, mailbox_id: MailboxId, wanted: EventFilter, *, position: int | None, limit: int
    ) -> EventPage:
        """What happened to a mailbox and its mail, from a position on."""

        def work(tx: Tx) -> EventPage:
            start = position
            if start is None:
                start = events.before(tx, wanted.since) if wanted.since is not None else 0
            rows = self._settled(tx, self._rows(tx, mailbox_id, wanted.queue_id, start))
            is_cut = len(rows) == LOOKED_AT
            return _page(rows, wanted, start=start, limit=limit, is_cut=is_cut)

        return await self._database.read(work)

    async def of_message(
        self, queue_id: QueueId, mailbox_id: MailboxId, *, position: int | None, limit: int
    ) -> EventPage:
        """What happened to one message of a mailbox, as far as it is known at this moment.

        Raises:
            Refused: not_found.
        """

        def work(tx: Tx) -> EventPage:
            if not events.is_owned(tx, queue_id, mailbox_id):
                raise Refused(Code.NOT_FOUND, "there is no such message")
            start = position or 0
            rows = events.of_message(tx, queue_id, after=start, limit=limit + 1)
            return _page(rows, EventFilter(), start=start, limit=limit, is_cut=False)

        return await self._database.read(work)

    def _rows(
        self, tx: Tx, mailbox_id: MailboxId, queue_id: QueueId | None, start: int
    ) -> list[EventRow]:
        if queue_id is None:
            return events.of_mailbox(tx, mailbox_id, after=start, limit=LOOKED_AT)
        if not events.is_owned(tx, queue_id, mailbox_id):
            return []
        return events.of_message(tx, queue_id, after=start, limit=LOOKED_AT)

    def _settled(self, tx: Tx, rows: Collection[EventRow]) -> list[EventRow]:
        """The rows up to the first that is too young."""
        if not self._horizon:
            return list(rows)
        until = tx.now - self._horizon
        return list(itertools.takewhile(lambda row: row.at <= until, rows))


def _page(
    rows: Collection[EventRow], wanted: EventFilter, *, start: int, limit: int, is_cut: bool
) -> EventPage:
    """The first of these rows that are wanted; `is_cut`: there were more than were looked at."""
    items: list[EventRow] = []
    position = start
    for row in rows:
        if wanted.takes(row):
            if len(items) == limit:
                return EventPage(items=tuple(items), position=position, has_more=True)
            items.append(row)
        position = row.seq
    return EventPage(items=tuple(items), position=position, has_more=is_cut)
