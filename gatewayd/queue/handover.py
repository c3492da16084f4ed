"""Handover: mail that delivery has room for is claimed by its acceptance, in the same transaction.

| delivery has said of its lane | an acceptance is                                                |
|-------------------------------|-----------------------------------------------------------------|
| nothing yet, or no room       | queued, and claimed later (`claim.py`)                          |
| older mail of it waits        | queued: what comes never overtakes what waits                   |
| room for so many claims       | claimed: a transaction less, and its octets are in memory still |

```
 loop     offer ──┐                                ┌──> receiver: delivery starts it
                  v                                │
 writer         Room ── claims_for ── commit ── hand_over
```

Room is an offer, not an account. A set that is rolled back leaves it smaller, and one that is on
its way when delivery makes the next offer is not seen in it: then some claims too many wait their
turn, at most as many as were offered. Whoever finds too little is queued, which wakes delivery, and
delivery makes its offers anew.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gatewayd import failpoints, ids
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import MailboxId
from gatewayd.queue.claim import RECIPIENTS_OF_ONE, Claim, ClaimedRecipient
from gatewayd.queue.enqueue import Entry

Receiver = Callable[[Sequence[Claim]], None]


@dataclass(slots=True, eq=False)
class Room:
    """What one next hop may be given at once: so many claims, of so many recipients together."""

    claims: int = 0
    recipients: int = 0


class Handover:
    """Between intake, which claims on the writer's thread, and delivery, on the loop's.

    Args:
        lease: how long a claim holds.
        wakeup: a nudge when something was queued.
    """

    def __init__(self, *, lease: dt.timedelta, wakeup: Wakeup) -> None:
        self._lease = lease
        self._wakeup = wakeup
        self._rooms: dict[MailboxId, Room] = {}
        self._lock = threading.Lock()
        self._receiver: Receiver | None = None

    # Of delivery.

    def open(self, receiver: Receiver) -> None:
        """Let claims be made from now on; the receiver gets them on the loop's thread."""
        self._receiver = receiver

    def close(self) -> None:
        """Let no more be made; what is on its way still comes."""
        with self._lock:
            self._rooms.clear()

    def offer(self, room: Room, *, claims: int, recipients: int) -> None:
        """Say anew what there is room for."""
        with self._lock:
            room.claims, room.recipients = claims, recipients

    def lead(self, lane: MailboxId, room: Room) -> None:
        """Mail of this lane needs this room from now on."""
        if self._rooms.get(lane) is not room:
            with self._lock:
                self._rooms[lane] = room

    def forget(self, room: Room) -> None:
        """Nothing is led there any more."""
        with self._lock:
            self._rooms = {lane: one for lane, one in self._rooms.items() if one is not room}

    # Of intake.

    def claims_for(self, entries: Collection[Entry]) -> list[Claim]:
        """Claims of what there is room for; the others are to be queued. On the writer's thread."""
        return [claim for entry in entries if self._has_room(entry) for claim in self._of(entry)]

    def hand_over(self, claims: Sequence[Claim], *, has_queued: bool) -> None:
        """Give claims to delivery; they are durable.

        Args:
            claims: what was claimed.
            has_queued: whether other mail was queued.
        """
        if claims:
            failpoints.reach("after_claim")
            if self._receiver is None:
                raise AssertionError("claimed for nobody")
            self._receiver(claims)
        if has_queued:
            self._wakeup.notify()

    def _has_room(self, entry: Entry) -> bool:
        """Whether all of an entry finds room now, which it then takes."""
        recipients = len(entry.recipient_ids)
        if entry.owner is None or recipients > RECIPIENTS_OF_ONE:
            return False
        claims = recipients if entry.is_individual else 1
        with self._lock:
            room = self._rooms.get(entry.lane)
            if room is None or claims > room.claims or recipients > room.recipients:
                return False
            room.claims -= claims
            room.recipients -= recipients
        return True

    def _of(self, entry: Entry) -> list[Claim]:
        recipients = [
            ClaimedRecipient(
                recipient_id=recipient_id,
                forward_path=recipient.forward_path,
                attempts=1,
                notify=recipient.notify,
                orcpt=recipient.orcpt,
            )
            for recipient_id, recipient in zip(
                entry.recipient_ids, entry.envelope.recipients, strict=True
            )
        ]
        if entry.is_individual:
            return [self._claim(entry, (one,)) for one in recipients]
        return [self._claim(entry, tuple(recipients))]

    def _claim(self, entry: Entry, recipients: tuple[ClaimedRecipient, ...]) -> Claim:
        envelope, owner = entry.envelope, entry.owner
        return Claim(
            attempt_id=ids.attempt_id(entry.accepted_at),
            queue_id=entry.queue_id,
            mailbox_id=entry.mailbox_id,
            mailbox=owner.address if owner else "",
            hold_in_doubt=owner is not None and owner.on_in_doubt == "hold",
            sandbox=entry.sandbox,
            accepted_at=entry.accepted_at,
            reverse_path=envelope.reverse_path,
            body_type=envelope.body,
            smtputf8=envelope.smtputf8,
            envid=envelope.envid,
            ret=envelope.ret,
            recipients=recipients,
            message=entry.message,
            lease_until=entry.accepted_at + self._lease,
            tracks_opens="opens" in entry.track,
            tracks_clicks="clicks" in entry.track,
            unsubscribe=entry.unsubscribe,
        )
