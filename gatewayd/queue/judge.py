"""What an outcome makes of a recipient: the table. Pure.

| outcome   | state     | counted | due                                      | event               |
|-----------|-----------|---------|------------------------------------------|---------------------|
| Delivered | delivered | yes     | -                                        | recipient.delivered |
| Deferred  | queued    | yes     | by the schedule                          | recipient.deferred  |
|           | expired   | yes     | - (no attempt or no time is left)        | recipient.expired   |
| Failed    | failed    | yes     | -                                        | recipient.failed    |
| InDoubt   | in_doubt  | yes     | by the schedule; never if the mailbox    | recipient.in_doubt  |
|           |           |         | holds what is in doubt                   |                     |
|           | expired   | yes     | - (no attempt or no time is left)        | both of them        |
| Released  | queued    | no      | now                                      | none                |

Who is suppressed while it waits is not tried at all: `suppressed`, for `withheld.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final, assert_never

from gatewayd.errors import Code
from gatewayd.events.types import Event, EventType
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.envelope import Notify
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply
from gatewayd.queue.schedule import Schedule
from gatewayd.queue.states import Event as Happening
from gatewayd.queue.states import State, after
from gatewayd.store.claims import DueRow

SUPPRESSED: Final = f"{Code.RECIPIENT_SUPPRESSED.word}: suppressed after the message was accepted"
NOBODY: Final[frozenset[Notify]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is needed to judge an outcome for one recipient.

    asked: NOTIFY; empty for a message with the null reverse-path, of which nobody is told.
    is_delayed: its submitter was told of a delay, or a report was.
    """

    recipient_id: RecipientId
    queue_id: QueueId
    mailbox_id: MailboxId
    attempt_id: AttemptId
    next_hop: str
    attempts: int
    accepted_at: dt.datetime
    hold_in_doubt: bool
    forward_path: str = ""
    asked: frozenset[Notify] = NOBODY
    is_delayed: bool = False
    is_dsn_offered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What an outcome makes of a recipient: a state, what is due, and what is told."""

    state: State
    due_at: dt.datetime | None
    attempts: int
    reply: Reply | None
    status: str | None
    reason: str
    events: tuple[Event, ...]


def judge(
    owed: Owed, outcome: Outcome, *, schedule: Schedule, now: dt.datetime, chance: float
) -> Settled:
    """The table above, for one recipient. Pure."""
    match outcome:
        case Delivered(reply):
            return _rest(owed, Happening.DELIVERED, reply=reply, reason="")
        case Failed(reason, reply, status):
            return _rest(owed, Happening.FAILED, reply=reply, reason=reason, status=status)
        case Released(reason):
            return Settled(
                state=after(State.CLAIMED, Happening.RELEASED),
                due_at=now,
                attempts=owed.attempts - 1,
                reply=None,
                status=None,
                reason=reason,
                events=(),
            )
        case Deferred(reason, reply):
            due_at = _next(owed, schedule=schedule, now=now, chance=chance)
            if due_at is None:
                return _rest(owed, Happening.EXPIRED, reply=reply, reason=reason, status="4.4.7")
            told = {"reason": reason, "next_attempt_at": due_at.isoformat()}
            return Settled(
                state=after(State.CLAIMED, Happening.DEFERRED),
                due_at=due_at,
                attempts=owed.attempts,
                reply=reply,
                status=None,
                reason=reason,
                events=(_event(owed, EventType.RECIPIENT_DEFERRED, reply, None, told),),
            )
        case InDoubt(reason):
            return _in_doubt(owed, reason, schedule=schedule, now=now, chance=chance)
        case _:
            assert_never(outcome)


def suppressed(due: DueRow, mailbox_id: MailboxId) -> Settled:
    """What becomes of one whose address is suppressed when it is due: it fails, untried."""
    status = Code.RECIPIENT_SUPPRESSED.status
    told = {"reason": SUPPRESSED, "status": status}
    return Settled(
        state=after(State.QUEUED, Happening.SUPPRESSED),
        due_at=None,
        attempts=due.attempts,
        reply=None,
        status=status,
        reason=SUPPRESSED,
        events=(
            Event(
                type=EventType.RECIPIENT_FAILED,
                mailbox_id=mailbox_id,
                queue_id=due.queue_id,
                recipient_id=due.recipient_id,
                data=told,
            ),
        ),
    )


def _in_doubt(
    owed: Owed, reason: str, *, schedule: Schedule, now: dt.datetime, chance: float
) -> Settled:
    told = _event(owed, EventType.RECIPIENT_IN_DOUBT, None, None, {"reason": reason})
    due_at = None
    if not owed.hold_in_doubt:
        due_at = _next(owed, schedule=schedule, now=now, chance=chance)
        if due_at is None:
            ended = _rest(owed, Happening.EXPIRED, reply=None, reason=reason, status="4.4.7")
            return Settled(
                state=ended.state,
                due_at=None,
                attempts=owed.attempts,
                reply=None,
                status=ended.status,
                reason=reason,
                events=(told, *ended.events),
            )
    return Settled(
        state=after(State.CLAIMED, Happening.IN_DOUBT),
        due_at=due_at,
        attempts=owed.attempts,
        reply=None,
        status=None,
        reason=reason,
        events=(told,),
    )


_TOLD = {
    Happening.DELIVERED: EventType.RECIPIENT_DELIVERED,
    Happening.FAILED: EventType.RECIPIENT_FAILED,
    Happening.EXPIRED: EventType.RECIPIENT_EXPIRED,
}


def _rest(
    owed: Owed,
    happening: Happening,
    *,
    reply: Reply | None,
    reason: str,
    status: str | None = None,
) -> Settled:
    """A recipient that has come to rest."""
    told = {"reason": reason} if reason else {}
    return Settled(
        state=after(State.CLAIMED, happening),
        due_at=None,
        attempts=owed.attempts,
        reply=reply,
        status=status,
        reason=reason,
        events=(_event(owed, _TOLD[happening], reply, status, told),),
    )


def _next(owed: Owed, *, schedule: Schedule, now: dt.datetime, chance: float) -> dt.datetime | None:
    return schedule.next_attempt_at(
        attempts=owed.attempts, accepted_at=owed.accepted_at, now=now, chance=chance
    )


def _event(
    owed: Owed, kind: EventType, reply: Reply | None, status: str | None, more: dict[str, str]
) -> Event:
    data: dict[str, Any] = {"attempt_id": owed.attempt_id, "next_hop": owed.next_hop, **more}
    if reply is not None:
        data |= {"code": reply.code, "status": str(reply.status or ""), "text": reply.text}
    elif status is not None:
        data["status"] = status
    return Event(
        type=kind,
        mailbox_id=owed.mailbox_id,
        queue_id=owed.queue_id,
        recipient_id=owed.recipient_id,
        data=data,
    )
