"""append(tx, events): write what happened in the transaction that made it true."""

from __future__ import annotations

from collections.abc import Iterable

from gatewayd import ids
from gatewayd.events.types import Event
from gatewayd.store import events as table
from gatewayd.store.database import Tx


def append(tx: Tx, events: Iterable[Event]) -> None:
    now = tx.now
    table.append(
        tx,
        [
            {
                "event_id": ids.event_id(now),
                "type": event.type.value,
                "at": now,
                "mailbox_id": event.mailbox_id,
                "queue_id": event.queue_id,
                "recipient_id": event.recipient_id,
                "data": dict(event.data),
            }
            for event in events
        ],
    )
