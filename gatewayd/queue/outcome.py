"""Outcome to state and event, in one transaction.

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

An outcome counts only while the attempt is open and the recipient carries its id; one that comes
late changes nothing, because the work was given to somebody else.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from gatewayd.errors import LeaseLost
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply
from gatewayd.queue.claim import Claim
from gatewayd.queue.schedule import Schedule
from gatewayd.queue.states import Event as Happening
from gatewayd.queue.states import State, after
from gatewayd.store import claims, mailboxes, messages
from gatewayd.store.database import Tx

RECOVERED = "the daemon stopped after the final dot may have been sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """What is kept of an attempt: how far it came, with whom, what was said (redacted)."""

    next_hop: str
    phase: str
    tls: str
    transcript: str
    started_at: dt.datetime
    ended_at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The outcome of one attempt for each of its recipients."""

    claim: Claim
    outcomes: Mapping[RecipientId, Outcome]
    attempt: AttemptRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What is needed to judge an outcome for one recipient."""

    recipient_id: RecipientId
    queue_id: QueueId
    mailbox_id: MailboxId
    attempt_id: AttemptId
    next_hop: str
    attempts: int
    accepted_at: dt.datetime
    hold_in_doubt: bool


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


def settle(
    tx: Tx, settlements: Sequence[Settlement], *, schedule: Schedule
) -> tuple[list[LeaseLost | None], int]:
    """Keep the outcomes of a set of attempts; those of an attempt that is not ours are lost.

    Returns:
        For each settlement None, or LeaseLost when none of its recipients was still ours; and how
        many recipients have expired.
    """
    held = claims.held(tx, [id_ for one in settlements for id_ in one.outcomes])
    rows: list[dict[str, Any]] = []
    events: list[Event] = []
    results: list[LeaseLost | None] = []
    ended: list[Settlement] = []
    for one in settlements:
        ours = 0
        chance = _chance()  # one for all, so that they stay together in the next attempt
        for recipient_id, outcome in one.outcomes.items():
            row = held.get(recipient_id)
            if row is None or row.attempt_id != one.claim.attempt_id:
                continue
            ours += 1
            owed = _owed(one, recipient_id, row.attempts)
            settled = judge(owed, outcome, schedule=schedule, now=tx.now, chance=chance)
            rows.append(_row(recipient_id, settled, now=tx.now))
            events.extend(settled.events)
        if ours:
            ended.append(one)
        results.append(None if ours else LeaseLost(one.claim.attempt_id))
    claims.settle(tx, rows)
    claims.end(tx, [_end(one) for one in ended])
    record.append(tx, events)
    return results, sum(event.type is EventType.RECIPIENT_EXPIRED for event in events)


def recover(tx: Tx, attempts: Sequence[AttemptId], *, schedule: Schedule) -> tuple[int, int]:
    """Take back what these attempts hold: with a marker it is in doubt, without it was never tried.

    Returns:
        How many recipients were released, and how many are in doubt.
    """
    held = claims.held_by(tx, attempts)
    rows_of = messages.by_ids(tx, {row.queue_id for row in held})
    owners = mailboxes.by_ids(tx, {row.mailbox_id for row in rows_of.values()})
    rows: list[dict[str, Any]] = []
    events: list[Event] = []
    in_doubt = 0
    chances = {attempt_id: _chance() for attempt_id in attempts}
    for row in held:
        message = rows_of[row.queue_id]
        owner = owners.get(message.mailbox_id)
        outcome: Outcome = Released("the daemon stopped before anything was handed over")
        if row.marker_at is not None:
            outcome, in_doubt = InDoubt(RECOVERED), in_doubt + 1
        owed = Owed(
            recipient_id=row.recipient_id,
            queue_id=row.queue_id,
            mailbox_id=message.mailbox_id,
            attempt_id=row.attempt_id,
            next_hop="",
            attempts=row.attempts,
            accepted_at=message.accepted_at,
            hold_in_doubt=owner is not None and owner.on_in_doubt == "hold",
        )
        chance = chances[row.attempt_id]
        settled = judge(owed, outcome, schedule=schedule, now=tx.now, chance=chance)
        rows.append(_row(row.recipient_id, settled, now=tx.now))
        events.extend(settled.events)
    claims.settle(tx, rows)
    claims.close(tx, attempts)
    record.append(tx, events)
    return len(held) - in_doubt, in_doubt


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


def _owed(one: Settlement, recipient_id: RecipientId, attempts: int) -> Owed:
    return Owed(
        recipient_id=recipient_id,
        queue_id=one.claim.queue_id,
        mailbox_id=one.claim.mailbox_id,
        attempt_id=one.claim.attempt_id,
        next_hop=one.attempt.next_hop,
        attempts=attempts,
        accepted_at=one.claim.accepted_at,
        hold_in_doubt=one.claim.hold_in_doubt,
    )


def _row(recipient_id: RecipientId, settled: Settled, *, now: dt.datetime) -> dict[str, Any]:
    reply = settled.reply
    status = str(reply.status) if reply is not None and reply.status else settled.status
    return {
        "id": recipient_id,
        "to": settled.state.value,
        "tries": settled.attempts,
        "at": settled.due_at,
        "code": reply.code if reply is not None else None,
        "status": status,
        "why": settled.reason or (reply.text if reply is not None else ""),
        "delivered": now if settled.state is State.DELIVERED else None,
    }


def _end(one: Settlement) -> dict[str, Any]:
    return {
        "id": one.claim.attempt_id,
        "hop": one.attempt.next_hop,
        "step": one.attempt.phase,
        "facts": one.attempt.tls,
        "lines": one.attempt.transcript,
    }


def _chance() -> float:
    """Where in the jitter a wait falls: spreads retries, so it need not be repeatable."""
    return secrets.randbelow(1_000_000) / 1_000_000
