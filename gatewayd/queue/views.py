"""Messages, recipients and attempts as readers see them: rows to values, and nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gatewayd.events.types import EventType
from gatewayd.ids import AttemptId, QueueId, RecipientId
from gatewayd.queue.states import State
from gatewayd.store import claims, mailboxes, recipients
from gatewayd.store.claims import AttemptRow
from gatewayd.store.database import Tx
from gatewayd.store.events import EventRow
from gatewayd.store.messages import MessageRow
from gatewayd.store.recipients import RecipientRow

ATTEMPTS_SHOWN: Final = 100
OUTCOMES: Final = {
    EventType.RECIPIENT_DELIVERED: "delivered",
    EventType.RECIPIENT_DEFERRED: "deferred",
    EventType.RECIPIENT_FAILED: "failed",
    EventType.RECIPIENT_IN_DOUBT: "in_doubt",
    EventType.RECIPIENT_EXPIRED: "expired",
}
DSN_DOOR: Final = "dsn"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientView:
    """One recipient. From `bounced_at` on: what came back, each with the time it was first known.

    bounce_class, bounce_reason: words of reports/report.py.
    machine_opened_at, machine_clicked_at: by a proxy or a scanner, not by a person.
    """

    recipient_id: RecipientId
    address: str
    state: State
    attempts: int
    next_attempt_at: dt.datetime | None
    delivered_at: dt.datetime | None
    last_reply: str | None
    updated_at: dt.datetime
    bounced_at: dt.datetime | None
    bounce_class: str | None
    bounce_reason: str | None
    delayed_at: dt.datetime | None
    complained_at: dt.datetime | None
    unsubscribed_at: dt.datetime | None
    opened_at: dt.datetime | None
    clicked_at: dt.datetime | None
    machine_opened_at: dt.datetime | None
    machine_clicked_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptedRecipient:
    """A recipient that an attempt was for; `outcome` is None while it goes on."""

    recipient_id: RecipientId
    address: str
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt.

    marked: the final dot may have been written.
    transcript: what was said, addresses and secrets redacted.
    recipients: whom it was for, where that was asked.
    """

    attempt_id: AttemptId
    next_hop: str
    phase: str
    tls: str
    transcript: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    marked: bool
    recipients: tuple[AttemptedRecipient, ...] = ()

    @property
    def tls_version(self) -> str | None:
        """Such as TLSv1.3; None for plaintext."""
        return self.tls.partition(" ")[0] or None

    @property
    def tls_cipher(self) -> str | None:
        return self.tls.partition(" ")[2] or None

    @property
    def duration_ms(self) -> int | None:
        if self.ended_at is None:
            return None
        return (self.ended_at - self.started_at) // dt.timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """One message. is_dsn: a report of ours to the mailbox about another message.

    track: `opens`, `clicks`, as was decided when it was accepted.
    """

    queue_id: QueueId
    mailbox: str
    door: str
    accepted_at: dt.datetime
    subject: str
    message_id: str
    size_octets: int
    sandbox: bool
    tags: tuple[str, ...]
    metadata: dict[str, str]
    track: tuple[str, ...]
    reverse_path: str
    recipients: tuple[RecipientView, ...]
    attempts: tuple[AttemptView, ...]

    @property
    def is_dsn(self) -> bool:
        return self.door == DSN_DOOR


def message(tx: Tx, row: MessageRow) -> MessageView:
    """One message with its latest attempts."""
    (view,) = messages(tx, [row])
    made = claims.of_messages(tx, [row.queue_id]).get(row.queue_id, [])
    return replace(view, attempts=tuple(map(attempt, made[-ATTEMPTS_SHOWN:])))


def messages(tx: Tx, rows: Sequence[MessageRow]) -> list[MessageView]:
    """Messages without attempts, by one statement per table."""
    owners = mailboxes.by_ids(tx, {row.mailbox_id for row in rows}) if rows else {}
    owed = recipients.of_messages(tx, {row.queue_id for row in rows})
    return [
        MessageView(
            queue_id=row.queue_id,
            mailbox=owners[row.mailbox_id].address if row.mailbox_id in owners else "",
            door=row.door,
            accepted_at=row.accepted_at,
            subject=row.subject,
            message_id=row.message_id,
            size_octets=row.size_octets,
            sandbox=row.sandbox,
            tags=tuple(row.tags),
            metadata=row.metadata,
            track=tuple(filter(None, row.track.split(","))),
            reverse_path=row.reverse_path,
            recipients=tuple(map(recipient, owed.get(row.queue_id, []))),
            attempts=(),
        )
        for row in rows
    ]


def recipient(row: RecipientRow) -> RecipientView:
    state = State(row.state)
    said = " ".join(str(part) for part in (row.reply_code, row.reply_status, row.reason) if part)
    return RecipientView(
        recipient_id=row.recipient_id,
        address=row.forward_path,
        state=state,
        attempts=row.attempts,
        next_attempt_at=row.due_at if state in (State.QUEUED, State.IN_DOUBT) else None,
        delivered_at=row.delivered_at,
        last_reply=said or None,
        updated_at=row.updated_at,
        bounced_at=row.bounced_at,
        bounce_class=row.bounce_class,
        bounce_reason=row.bounce_reason,
        delayed_at=row.delayed_at,
        complained_at=row.complained_at,
        unsubscribed_at=row.unsubscribed_at,
        opened_at=row.opened_at,
        clicked_at=row.clicked_at,
        machine_opened_at=row.machine_opened_at,
        machine_clicked_at=row.machine_clicked_at,
    )


def attempt(row: AttemptRow) -> AttemptView:
    return AttemptView(
        attempt_id=row.attempt_id,
        next_hop=row.next_hop,
        phase=row.phase,
        tls=row.tls,
        transcript=row.transcript,
        started_at=row.started_at,
        ended_at=row.ended_at,
        marked=row.marker_at is not None,
    )


def attempts(
    made: Sequence[AttemptRow], owed: Sequence[RecipientRow], told: Iterable[EventRow]
) -> tuple[AttemptView, ...]:
    """Attempts with their recipients.

    Args:
        made: of one message, in order.
        owed: its recipients, in order.
        told: its events about outcomes; they say which attempt had which.
    """
    outcomes: dict[tuple[str, RecipientId], str] = {}
    for event in told:
        id_, word = event.data.get("attempt_id"), OUTCOMES.get(EventType(event.type))
        if isinstance(id_, str) and event.recipient_id is not None and word is not None:
            outcomes[id_, event.recipient_id] = word
    return tuple(
        replace(
            attempt(row),
            recipients=tuple(
                AttemptedRecipient(
                    recipient_id=one.recipient_id,
                    address=one.forward_path,
                    outcome=outcomes.get((row.attempt_id, one.recipient_id)),
                )
                for one in owed
                if (row.attempt_id, one.recipient_id) in outcomes
                or (row.ended_at is None and one.attempt_id == row.attempt_id)
            ),
        )
        for row in made[-ATTEMPTS_SHOWN:]
    )
