"""Operator verbs and readers: list, show, explain, hold, release, retry, cancel.

A verb moves the recipients of a message that may be moved, and says of the others why not. One that
a worker has claimed is left to it (409): its outcome comes first.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gatewayd.errors import Code, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.address import AddressSyntaxError, ForwardPath
from gatewayd.queue import states
from gatewayd.queue.states import Event as Happening
from gatewayd.queue.states import State
from gatewayd.store import claims, events, mailboxes, messages, recipients
from gatewayd.store.claims import AttemptRow
from gatewayd.store.database import Database, Tx
from gatewayd.store.events import EventRow
from gatewayd.store.messages import MessageFilter, MessageRow
from gatewayd.store.recipients import RecipientRow

ATTEMPTS_SHOWN = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientView:
    """One recipient as a reader sees it."""

    recipient_id: RecipientId
    address: str
    state: State
    attempts: int
    next_attempt_at: dt.datetime | None
    delivered_at: dt.datetime | None
    last_reply: str | None
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One attempt as a reader sees it; `marked`: the final dot may have been written."""

    attempt_id: AttemptId
    next_hop: str
    phase: str
    tls: str
    transcript: str
    started_at: dt.datetime
    ended_at: dt.datetime | None
    marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """One message as a reader sees it."""

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
    reverse_path: str
    recipients: tuple[RecipientView, ...]
    attempts: tuple[AttemptView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, the newest first."""

    items: tuple[MessageView, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One answer to "what happened to my mail": a sentence, the facts, what to do."""

    message: MessageView
    summary: str
    lines: tuple[str, ...]
    events: tuple[EventRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What a verb did: how many recipients it moved, and why it left others."""

    moved: int
    left: tuple[str, ...]


class Wanted(Protocol):
    """Which messages a list shows; None means any."""

    @property
    def state(self) -> State | None: ...
    @property
    def recipient(self) -> str | None: ...
    @property
    def tag(self) -> str | None: ...
    @property
    def since(self) -> dt.datetime | None: ...
    @property
    def until(self) -> dt.datetime | None: ...


class Inspector:
    """Accepted messages from the outside."""

    def __init__(self, database: Database, *, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def message(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> MessageView:
        """One message; with a mailbox_id, another mailbox's is not found either.

        Raises:
            Refused: not_found.
        """
        return await self._database.read(lambda tx: _view(tx, _find(tx, queue_id, mailbox_id)))

    async def messages(
        self, wanted: Wanted, *, mailbox_id: MailboxId | None, cursor: str | None, limit: int
    ) -> Page:
        """A page of messages, the newest first; `cursor` is `next_cursor` of the page before."""
        if not all(map(_may_be_stored, (wanted.recipient, wanted.tag, cursor))):
            return Page(items=(), next_cursor=None)
        chosen = MessageFilter(
            mailbox_id=mailbox_id,
            state=wanted.state.value if wanted.state else None,
            recipient=_as_kept(wanted.recipient),
            tag=wanted.tag,
            since=wanted.since,
            until=wanted.until,
        )

        def work(tx: Tx) -> Page:
            before = QueueId(cursor) if cursor else None
            rows = messages.newest_first(tx, chosen, before=before, limit=limit + 1)
            shown = rows[:limit]
            return Page(
                items=tuple(_views(tx, shown)),
                next_cursor=shown[-1].queue_id if len(rows) > limit else None,
            )

        return await self._database.read(work)

    async def explain(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> Explanation:
        """Where a message is, what decided that, and what to do.

        Raises:
            Refused: not_found.
        """

        def work(tx: Tx) -> Explanation:
            view = _view(tx, _find(tx, queue_id, mailbox_id))
            lines = tuple(_sentence(recipient, tx.now) for recipient in view.recipients)
            return Explanation(
                message=view,
                summary=_summary(view),
                lines=lines,
                events=tuple(events.of_message(tx, queue_id)),
            )

        return await self._database.read(work)

    async def hold(self, queue_id: QueueId, *, by: str) -> Moved:
        """Stop what is queued until it is released."""
        return await self._move(queue_id, Happening.HELD, EventType.MESSAGE_HELD, by)

    async def release(self, queue_id: QueueId, *, by: str) -> Moved:
        """Let what is held go on at once."""
        return await self._move(queue_id, Happening.RELEASED, EventType.MESSAGE_RELEASED, by)

    async def retry(self, queue_id: QueueId, *, by: str) -> Moved:
        """Try again at once: what waits, is held, in doubt, failed or expired."""
        return await self._move(queue_id, Happening.RETRIED, EventType.MESSAGE_RETRIED, by)

    async def cancel(self, queue_id: QueueId, *, by: str) -> Moved:
        """Give up what was not handed over."""
        return await self._move(queue_id, Happening.CANCELLED, EventType.MESSAGE_CANCELLED, by)

    async def count_by_state(self) -> dict[State, int]:
        counted = await self._database.read(recipients.count_by_state)
        return {state: counted.get(state.value, 0) for state in State}

    async def _move(
        self, queue_id: QueueId, happening: Happening, told: EventType, by: str
    ) -> Moved:
        """Do a verb in one transaction.

        Raises:
            Refused: not_found; conflict when no recipient could be moved.
        """

        def work(tx: Tx) -> Moved:
            row = _find(tx, queue_id, None)
            rows = recipients.locked(tx, queue_id)
            allowed = states.sources(happening) - {State.CLAIMED}
            movable = [one for one in rows if State(one.state) in allowed]
            left = tuple(_why_not(one, happening) for one in rows if one not in movable)
            if not movable:
                raise Refused(Code.CONFLICT, "; ".join(left) or "it has no recipients")
            to = states.after(State(movable[0].state), happening)
            recipients.change(
                tx,
                [one.recipient_id for one in movable],
                state=to.value,
                due_at=tx.now if to is State.QUEUED else None,
                reason=f"{happening.value} by {by}",
                attempts=0 if happening is Happening.RETRIED else None,
            )
            data = {"by": by, "recipients": len(movable)}
            record.append(
                tx, [Event(type=told, mailbox_id=row.mailbox_id, queue_id=queue_id, data=data)]
            )
            return Moved(moved=len(movable), left=left)

        moved = await self._database.write(work)
        self._wakeup.notify()
        return moved


def _may_be_stored(text: str | None) -> bool:
    """False for text that no column holds, and that PostgreSQL would refuse to look for."""
    return text is None or text.isprintable()


def _as_kept(recipient: str | None) -> str | None:
    """A forward-path as recipients have it: with its domain folded."""
    if recipient is None:
        return None
    try:
        return str(ForwardPath.parse(recipient))
    except AddressSyntaxError:
        return recipient


def _find(tx: Tx, queue_id: QueueId, mailbox_id: MailboxId | None) -> MessageRow:
    row = messages.by_ids(tx, [queue_id]).get(queue_id) if _may_be_stored(queue_id) else None
    if row is None or mailbox_id not in (None, row.mailbox_id):
        raise Refused(Code.NOT_FOUND, "there is no such message")
    return row


def _view(tx: Tx, row: MessageRow) -> MessageView:
    (view,) = _views(tx, [row])
    made = claims.of_messages(tx, [row.queue_id]).get(row.queue_id, [])
    return replace(view, attempts=tuple(_attempt(one) for one in made[-ATTEMPTS_SHOWN:]))


def _views(tx: Tx, rows: Sequence[MessageRow]) -> list[MessageView]:
    """Views without attempts, by one statement per table."""
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
            reverse_path=row.reverse_path,
            recipients=tuple(_recipient(one) for one in owed.get(row.queue_id, [])),
            attempts=(),
        )
        for row in rows
    ]


def _recipient(row: RecipientRow) -> RecipientView:
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
    )


def _attempt(row: AttemptRow) -> AttemptView:
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


def _why_not(row: RecipientRow, happening: Happening) -> str:
    if State(row.state) is State.CLAIMED:
        return f"{row.forward_path} is being delivered at this moment; try again"
    return f"{row.forward_path} is {row.state}, and cannot be {happening.value}"


def _summary(view: MessageView) -> str:
    counted: dict[State, int] = {}
    for recipient in view.recipients:
        counted[recipient.state] = counted.get(recipient.state, 0) + 1
    parts = ", ".join(f"{count} {state.value}" for state, count in sorted(counted.items()))
    return f"accepted {view.accepted_at:%Y-%m-%d %H:%M:%S} UTC by {view.door}: {parts}"


def _sentence(recipient: RecipientView, now: dt.datetime) -> str:
    """Where one recipient is, why, and what to do, in plain words."""
    said = f" ({recipient.last_reply})" if recipient.last_reply else ""
    due = recipient.next_attempt_at
    when = "now" if due is None or due <= now else f"at {_shown(due)}"
    tried = f"after {recipient.attempts} attempt(s)"
    waits = f"waits to be sent {when}{said}"
    if recipient.attempts:
        waits = f"was deferred {tried}{said}; the next attempt is {when}"
    again = f"it is sent again {when}" if due else "retry or cancel it"
    sentences = {
        State.QUEUED: waits,
        State.CLAIMED: "is being delivered at this moment",
        State.DELIVERED: f"was taken by the next hop at {_shown(recipient.delivered_at)}{said}",
        State.FAILED: f"was refused for good {tried}{said}; correct the cause, then retry",
        State.EXPIRED: f"was given up {tried}{said}; correct the cause, then retry",
        State.IN_DOUBT: f"may have been taken: no reply came to the final dot{said}; {again}",
        State.HELD: f"is held by an operator{said}; release, retry or cancel it",
        State.CANCELLED: f"was cancelled{said}",
        State.BOUNCED: f"was returned{said}",
    }
    return f"{recipient.address} {sentences[recipient.state]}"


def _shown(at: dt.datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"
