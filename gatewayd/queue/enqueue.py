"""Accepted submissions to rows: one statement per table, in the deciding transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId, TokenId
from gatewayd.mail.envelope import Envelope
from gatewayd.mail.message import RawMessage
from gatewayd.queue.claim import Claim
from gatewayd.queue.states import State
from gatewayd.store import claims, messages, recipients
from gatewayd.store.database import Tx
from gatewayd.store.mailboxes import MailboxRow
from gatewayd.store.messages import MessageRow, OctetsRow

SANDBOX_LANE = MailboxId("sandbox")  # mail that never leaves the machine waits behind nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One accepted message on its way into the queue.

    track: `opens`, `clicks`, both joined by a comma, or nothing.
    unsubscribe: whether each recipient gets a link to leave by.
    owner: the mailbox that submitted it; None for mail of our own, which is never handed over.
    """

    queue_id: QueueId
    recipient_ids: tuple[RecipientId, ...]
    mailbox_id: MailboxId
    token_id: TokenId
    door: str
    envelope: Envelope
    message: RawMessage
    message_id: str
    subject: str
    sandbox: bool
    tags: tuple[str, ...]
    metadata: tuple[tuple[str, str], ...]
    request_id: str
    accepted_at: dt.datetime
    track: str = ""
    unsubscribe: bool = False
    owner: MailboxRow | None = None

    @property
    def lane(self) -> MailboxId:
        return SANDBOX_LANE if self.sandbox else self.mailbox_id

    @property
    def is_individual(self) -> bool:
        """Whether each recipient gets octets of its own."""
        return bool(self.track) or self.unsubscribe


def add(tx: Tx, entries: Sequence[Entry], claimed: Sequence[Claim] = ()) -> None:
    """Write messages, octets, recipients and events of every entry.

    Args:
        tx: the transaction that accepts them.
        entries: what was accepted.
        claimed: claims of them that are made at once (`handover.py`); the others are queued.
    """
    if not entries:
        return
    holders = {one.recipient_id: claim.attempt_id for claim in claimed for one in claim.recipients}
    messages.add(tx, [_message(entry) for entry in entries], [_octets(entry) for entry in entries])
    if claimed:
        begun = {claim.attempt_id: claim.queue_id for claim in claimed}
        claims.begin(tx, begun, until=claimed[0].lease_until)
    recipients.add(tx, [row for entry in entries for row in _recipients(entry, holders)])
    record.append(tx, [_event(entry) for entry in entries])


def _message(entry: Entry) -> MessageRow:
    envelope, body = entry.envelope, entry.message.body
    spooled = None if isinstance(body, bytes) else body
    return MessageRow(
        queue_id=entry.queue_id,
        mailbox_id=entry.mailbox_id,
        token_id=entry.token_id,
        door=entry.door,
        reverse_path=str(envelope.reverse_path),
        body_type=envelope.body.value,
        smtputf8=envelope.smtputf8,
        envid=envelope.envid,
        ret=envelope.ret.value if envelope.ret else None,
        message_id=entry.message_id,
        subject=entry.subject,
        size_octets=entry.message.size_octets,
        sandbox=entry.sandbox,
        tags=list(entry.tags),
        metadata=dict(entry.metadata),
        request_id=entry.request_id,
        spool_key=spooled.key if spooled else None,
        spool_sha256=spooled.sha256 if spooled else None,
        accepted_at=entry.accepted_at,
        track=entry.track,
        unsubscribe=entry.unsubscribe,
    )


def _octets(entry: Entry) -> OctetsRow:
    header, body = entry.message.header.octets, entry.message.body
    if isinstance(body, bytes):
        return OctetsRow(
            queue_id=entry.queue_id,
            header=header,
            body=body,
            body_octets=len(body),
            body_has_8bit=not body.isascii(),
        )
    return OctetsRow(
        queue_id=entry.queue_id,
        header=header,
        body=None,
        body_octets=body.size_octets,
        body_has_8bit=body.has_8bit,
    )


def _recipients(entry: Entry, holders: Mapping[RecipientId, AttemptId]) -> list[dict[str, object]]:
    return [
        {
            "recipient_id": recipient_id,
            "queue_id": entry.queue_id,
            "position": position,
            "lane": entry.lane,
            "forward_path": str(recipient.forward_path),
            "notify": ",".join(sorted(recipient.notify)),
            "orcpt": recipient.orcpt,
            "state": (State.CLAIMED if recipient_id in holders else State.QUEUED).value,
            "attempts": 1 if recipient_id in holders else 0,
            "due_at": entry.accepted_at,
            "attempt_id": holders.get(recipient_id),
            "reason": "",
            "updated_at": entry.accepted_at,
        }
        for position, (recipient_id, recipient) in enumerate(
            zip(entry.recipient_ids, entry.envelope.recipients, strict=True)
        )
    ]


def _event(entry: Entry) -> Event:
    return Event(
        type=EventType.MESSAGE_ACCEPTED,
        mailbox_id=entry.mailbox_id,
        queue_id=entry.queue_id,
        data={
            "door": entry.door,
            "recipients": len(entry.recipient_ids),
            "size_octets": entry.message.size_octets,
            "request_id": entry.request_id,
        },
    )
