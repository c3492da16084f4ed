"""append(tx, events): write what happened in the transaction that made it true."""

from __future__ import annotations

from collections.abc import Iterable

from gatewayd import ids
from gatewayd.events.types import Event
from gatewayd.store import events as table
from gatewayd.store.database import Tx


def append(tx: Tx, events: Iterable[Event]) -> None:
    now = tx.now
    table.append_values(
        tx,
        [
            (
                ids.event_id(now),
                event.type.value,
                now,
                event.mailbox_id,
                event.queue_id,
                event.recipient_id,
                dict(event.data),
            )
            for event in events
        ],
    )
