"""queue.judge: one test per row of the table in its docstring."""

from __future__ import annotations

import datetime as dt

from gatewayd.events.types import EventType
from gatewayd.ids import AttemptId, MailboxId, QueueId, RecipientId
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.queue.judge import Owed, Settled, judge
from gatewayd.queue.schedule import Schedule
from gatewayd.queue.states import State
from tests.fakes.clock import NOW

TAKEN = Reply(250, EnhancedStatus(2, 0, 0), "ok")
LATER = Reply(451, EnhancedStatus(4, 7, 1), "greylisted")
NEVER = Reply(550, EnhancedStatus(5, 1, 1), "no such user")
FIVE_MINUTES = NOW + dt.timedelta(minutes=5)
DAYS = dt.timedelta(days=1)


def _judged(
    outcome: Outcome, *, attempts: int = 1, hold: bool = False, age: dt.timedelta = dt.timedelta()
) -> Settled:
    owed = Owed(
        recipient_id=RecipientId("r"), queue_id=QueueId("q"), mailbox_id=MailboxId("m"),
        attempt_id=AttemptId("a"), next_hop="h:25", attempts=attempts, accepted_at=NOW - age,
        hold_in_doubt=hold,
    )  # fmt: skip
    return judge(owed, outcome, schedule=Schedule(), now=NOW, chance=0.5)


def _facts(settled: Settled) -> tuple[State, dt.datetime | None, int, list[EventType]]:
    told = [event.type for event in settled.events]
    return settled.state, settled.due_at, settled.attempts, told


def test_delivered_is_delivered() -> None:
    settled = _judged(Delivered(TAKEN))

    assert _facts(settled) == (State.DELIVERED, None, 1, [EventType.RECIPIENT_DELIVERED])
    assert settled.events[0].data == {
        "attempt_id": "a", "next_hop": "h:25", "code": 250, "status": "2.0.0", "text": "ok",
    }  # fmt: skip


def test_deferred_waits_by_the_schedule() -> None:
    settled = _judged(Deferred("greylisted", LATER))

    assert _facts(settled) == (State.QUEUED, FIVE_MINUTES, 1, [EventType.RECIPIENT_DEFERRED])
    assert settled.events[0].data["next_attempt_at"] == FIVE_MINUTES.isoformat()
    assert (settled.reply, settled.reason) == (LATER, "greylisted")


def test_deferred_for_the_tenth_time_is_expired() -> None:
    settled = _judged(Deferred("greylisted", LATER), attempts=10)

    assert _facts(settled) == (State.EXPIRED, None, 10, [EventType.RECIPIENT_EXPIRED])
    assert settled.reply == LATER


def test_deferred_after_five_days_is_expired() -> None:
    """Without a reply of its own it gets the status of time that has run out (RFC 3463 3.5)."""
    settled = _judged(Deferred("no route to host"), age=5 * DAYS)

    assert _facts(settled) == (State.EXPIRED, None, 1, [EventType.RECIPIENT_EXPIRED])
    assert settled.status == "4.4.7"


def test_failed_is_failed_at_once() -> None:
    settled = _judged(Failed("no such user", NEVER))

    assert _facts(settled) == (State.FAILED, None, 1, [EventType.RECIPIENT_FAILED])
    assert settled.events[0].data["code"] == 550


def test_failed_by_our_own_finding_has_its_status() -> None:
    settled = _judged(Failed("next hop lacks SMTPUTF8", status="5.6.7"))

    assert settled.status == "5.6.7"
    assert settled.events[0].data["status"] == "5.6.7"


def test_in_doubt_is_retried_by_the_schedule() -> None:
    settled = _judged(InDoubt("timeout"))

    assert _facts(settled) == (State.IN_DOUBT, FIVE_MINUTES, 1, [EventType.RECIPIENT_IN_DOUBT])


def test_in_doubt_is_held_where_the_mailbox_says_so() -> None:
    """It rests until an operator says what to do, however old and often tried."""
    settled = _judged(InDoubt("timeout"), hold=True, attempts=10, age=9 * DAYS)

    assert _facts(settled) == (State.IN_DOUBT, None, 10, [EventType.RECIPIENT_IN_DOUBT])


def test_in_doubt_for_the_tenth_time_is_expired_and_both_are_told() -> None:
    settled = _judged(InDoubt("timeout"), attempts=10)

    told = [EventType.RECIPIENT_IN_DOUBT, EventType.RECIPIENT_EXPIRED]
    assert (State.EXPIRED, None, 10, told) == _facts(settled)


def test_released_is_due_at_once_and_not_counted() -> None:
    settled = _judged(Released("another recipient's limit"), attempts=3)

    assert _facts(settled) == (State.QUEUED, NOW, 2, [])
