"""Operator verbs and readers: list, show, explain, hold, release, retry, cancel.

A verb moves the recipients of a message that may be moved, and says of the others why not. One that
a worker has claimed is left to it (409): its outcome comes first. One that is suppressed is not
retried (422): it would fail at the next claim, and who wants that has to say so to the list.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gatewayd.errors import Code, Refused
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import MailboxId, QueueId, RecipientId
from gatewayd.mail.address import AddressSyntaxError, ForwardPath
from gatewayd.queue import states, views
from gatewayd.queue.explain import Explanation
from gatewayd.queue.explain import explain as explained
from gatewayd.queue.facts import COUNTED, Known, Waiting
from gatewayd.queue.states import Event as Happening
from gatewayd.queue.states import State
from gatewayd.queue.views import AttemptView, MessageView
from gatewayd.store import claims, events, messages, recipients, suppressions
from gatewayd.store.database import Database, Tx
from gatewayd.store.messages import MessageFilter, MessageRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.suppressions import ALL, SuppressionRow
from gatewayd.suppression.key import key

__all__ = ["Explanation", "Inspector", "MessageView", "Moved", "Page", "Wanted"]

EVENTS_READ: Final = 5000  # a hundred recipients, each tried ten times, with what came back


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, the newest first."""

    items: tuple[MessageView, ...]
    next_cursor: str | None


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
        return await self._database.read(
            lambda tx: views.message(tx, _find(tx, queue_id, mailbox_id))
        )

    async def attempts(
        self, queue_id: QueueId, mailbox_id: MailboxId | None
    ) -> tuple[AttemptView, ...]:
        """The attempts of a message, with their recipients and transcripts.

        Raises:
            Refused: not_found.
        """

        def work(tx: Tx) -> tuple[AttemptView, ...]:
            _find(tx, queue_id, mailbox_id)
            return views.attempts(
                claims.of_messages(tx, [queue_id]).get(queue_id, []),
                recipients.of_messages(tx, [queue_id]).get(queue_id, []),
                events.of_message_by_type(tx, queue_id, views.OUTCOMES, limit=EVENTS_READ),
            )

        return await self._database.read(work)

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
                items=tuple(views.messages(tx, shown)),
                next_cursor=shown[-1].queue_id if len(rows) > limit else None,
            )

        return await self._database.read(work)

    async def explain(self, queue_id: QueueId, mailbox_id: MailboxId | None) -> Explanation:
        """Where a message is, what decided that, and what to do.

        Raises:
            Refused: not_found.
        """

        def work(tx: Tx) -> Explanation:
            row = _find(tx, queue_id, mailbox_id)
            owed = recipients.of_messages(tx, [queue_id]).get(queue_id, [])
            return explained(
                Known(
                    message=views.message(tx, row),
                    recipients=owed,
                    attempts=claims.of_messages(tx, [queue_id]).get(queue_id, []),
                    events=events.of_message(tx, queue_id, limit=EVENTS_READ),
                    now=tx.now,
                    waiting=_waiting(tx, owed),
                    suppressed=_suppressed(tx, row, owed),
                )
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
            Refused: not_found; conflict when no recipient could be moved, recipient_suppressed when
                only the list keeps them from it.
        """

        def work(tx: Tx) -> Moved:
            row = _find(tx, queue_id, None)
            rows = recipients.locked(tx, queue_id)
            allowed = states.sources(happening) - {State.CLAIMED}
            fit = [one for one in rows if State(one.state) in allowed]
            is_judged = happening is Happening.RETRIED and row.reverse_path  # as `withheld.py` does
            listed = _suppressed(tx, row, fit) if is_judged else {}
            movable = [one for one in fit if one.recipient_id not in listed]
            left = tuple(
                _why_not(one, happening, listed.get(one.recipient_id))
                for one in rows
                if one not in movable
            )
            if not movable:
                code = Code.RECIPIENT_SUPPRESSED if listed else Code.CONFLICT
                raise Refused(code, "; ".join(left) or "it has no recipients")
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


def _waiting(tx: Tx, owed: Sequence[RecipientRow]) -> Waiting:
    """The queue around a message, when some of it is due."""
    due = [
        (one.due_at, one.lane)
        for one in owed
        if one.state == State.QUEUED and one.due_at is not None and one.due_at <= tx.now
    ]
    if not due:
        return Waiting()
    due_at, lane = min(due)
    return Waiting(
        before=recipients.count_before(tx, lane, due_at, limit=COUNTED),
        trouble=recipients.last_deferral(tx, lane),
    )


def _suppressed(
    tx: Tx, row: MessageRow, owed: Sequence[RecipientRow]
) -> dict[RecipientId, SuppressionRow]:
    """What keeps new mail of the mailbox from these recipients, by one statement."""
    keys = {one.recipient_id: _key(one.forward_path) for one in owed}
    found = suppressions.find(tx, [(row.mailbox_id, key) for key in keys.values()]) if keys else {}
    rows = {
        recipient_id: found.get((row.mailbox_id, key)) or found.get((ALL, key))
        for recipient_id, key in keys.items()
    }
    return {recipient_id: one for recipient_id, one in rows.items() if one is not None}


def _key(forward_path: str) -> str:
    """What the list knows an address by; text that is none is nobody's."""
    try:
        return key(ForwardPath.parse(forward_path).address)
    except AddressSyntaxError:
        return forward_path


def _why_not(row: RecipientRow, happening: Happening, listed: SuppressionRow | None) -> str:
    if listed is not None:
        whose = "--all" if listed.scope == ALL else "--mailbox MAILBOX"
        remove = f"gatewayd suppressions remove {row.forward_path} {whose}"
        return f"{row.forward_path} is suppressed ({listed.reason}); to let mail go there: {remove}"
    if State(row.state) is State.CLAIMED:
        return f"{row.forward_path} is being delivered at this moment; try again"
    return f"{row.forward_path} is {row.state}, and cannot be {happening.value}"
