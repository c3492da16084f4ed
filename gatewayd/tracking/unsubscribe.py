"""Unsubscribes: a recipient leaves a mailbox, for ever and by its own hand.

| what there is                              | what is done                                       |
|--------------------------------------------|----------------------------------------------------|
| nothing yet                                | suppression for this mailbox, fact, both events    |
| a suppression for this mailbox             | it ends no more, its reason is `unsubscribed`      |
| one that is so already                     | it stays as it is                                  |
| one that holds for every mailbox           | as nothing: that one may be taken away             |
| the fact: it has left before               | not told again; a suppression that an operator     |
|                                            | took away since comes back                         |
| sandbox mail: it never left this machine   | fact and its event; real mail is kept from nobody  |

An unsubscription outweighs whatever else is on the list (`suppression/rules.py`): an agent's own
word in its place could be taken back by the agent.

All of it is one transaction, and the same request a thousand times changes one row once.
"""

from __future__ import annotations

import enum
from typing import Final

from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import MailboxId, RecipientId
from gatewayd.mail.address import Address
from gatewayd.store import messages, suppressions, tracking
from gatewayd.store.database import Database, Tx
from gatewayd.store.suppressions import SuppressionRow
from gatewayd.store.tracking import TrackedRow

REASON: Final = "unsubscribed"  # the word of suppression/rules.py, which no room beside it sees


class How(enum.StrEnum):
    """By what a recipient left: `by` of the event, `source` of the suppression."""

    ONE_CLICK = "one-click"  # RFC 8058
    PAGE = "page"


class Unsubscribes:
    """Takes recipients at their word. Who they are was proved by a token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def leave(self, recipient_id: RecipientId, how: How) -> bool:
        """Send this address nothing more from this mailbox; False: the recipient is not known.

        Raises:
            StoreError: nothing was stored.
        """
        return await self._database.write(lambda tx: _leave(tx, recipient_id, how))


def _leave(tx: Tx, recipient_id: RecipientId, how: How) -> bool:
    row = tracking.locked(tx, [recipient_id]).get(recipient_id)
    if row is None:
        return False
    message = messages.by_ids(tx, [row.queue_id]).get(row.queue_id)
    if message is None:
        return False
    mailbox_id = message.mailbox_id
    events = [] if message.sandbox else _suppress(tx, row, mailbox_id, how)
    if row.unsubscribed_at is None:
        tracking.keep(tx, "unsubscribed_at", [recipient_id], at=tx.now)
        events.insert(
            0, _event(EventType.RECIPIENT_UNSUBSCRIBED, row, mailbox_id, {"by": how.value})
        )
    record.append(tx, events)
    return True


def _suppress(tx: Tx, row: TrackedRow, mailbox_id: MailboxId, how: How) -> list[Event]:
    address = Address.parse(row.forward_path)
    key = address.canonical
    there = suppressions.find(tx, [(mailbox_id, key)]).get((mailbox_id, key))
    if there is not None and (there.reason, there.expires_at) == (REASON, None):
        return []
    suppressions.put(
        tx,
        SuppressionRow(
            scope=mailbox_id, address_key=key, address=str(address), reason=REASON,
            source=how.value, first_seen_at=tx.now, last_seen_at=tx.now, expires_at=None,
        ),
    )  # fmt: skip
    told = {
        "address": str(address),
        "reason": REASON,
        "source": how.value,
        "scope": str(mailbox_id),
    }
    return [_event(EventType.SUPPRESSION_ADDED, row, mailbox_id, told)]


def _event(kind: EventType, row: TrackedRow, mailbox_id: MailboxId, data: dict[str, str]) -> Event:
    return Event(
        type=kind,
        mailbox_id=mailbox_id,
        queue_id=row.queue_id,
        recipient_id=row.recipient_id,
        data=data,
    )
