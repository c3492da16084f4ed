"""Outcome to state, event, suppression and notice, in one transaction.

```
 Settlement ─> judge      what it makes of each recipient          judge.py
            ─> refusal    whether the reply calls the address dead refusal.py
            ─> notify     whether the submitter asked to be told   notify.py
            ─> written for the whole set, one statement per kind
```

An outcome counts only while the attempt is open and the recipient carries its id; one that comes
late changes nothing, because the work was given to somebody else. Only where a report was faster
than the outcome is the rest of the truth kept: the recipient stays bounced, and `delivered_at`, the
event and the record of the attempt are added.

Suppressions and notices cost nothing where there are none.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewayd import ids
from gatewayd.config.returns import SuppressionSection
from gatewayd.errors import LeaseLost
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import AttemptId, RecipientId
from gatewayd.mail.address import Address
from gatewayd.mail.envelope import Notify
from gatewayd.mail.outcome import Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.queue import notify, refusal
from gatewayd.queue.claim import Claim
from gatewayd.queue.judge import NOBODY, Owed, Settled, judge
from gatewayd.queue.schedule import Schedule
from gatewayd.queue.states import State
from gatewayd.reports.report import Action
from gatewayd.store import claims, mailboxes, messages, notices, returns
from gatewayd.store.claims import HeldRow
from gatewayd.store.database import Tx
from gatewayd.store.notices import NoticeRow
from gatewayd.suppression import rules
from gatewayd.suppression.lists import Cause, suppress
from gatewayd.suppression.rules import Why

RECOVERED = "the daemon stopped after the final dot may have been sent"
_AT_REST = (Delivered, Failed)  # what is not tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """What is kept of an attempt: how far it came, with whom, what was said (redacted).

    dsn_offered: the next hop takes NOTIFY, so it reports success itself (RFC 3461 4).
    """

    next_hop: str
    phase: str
    tls: str
    transcript: str
    started_at: dt.datetime
    ended_at: dt.datetime
    dsn_offered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What outcomes are judged by, of the configuration."""

    schedule: Schedule
    delay_notice: dt.timedelta
    suppression: SuppressionSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a set of outcomes adds to the metrics; owed: reports to submitters, in the outbox."""

    expired: int
    suppressed: int
    owed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """The outcome of one attempt for each of its recipients."""

    claim: Claim
    outcomes: Mapping[RecipientId, Outcome]
    attempt: AttemptRecord


def settle(
    tx: Tx, settlements: Sequence[Settlement], *, terms: Terms
) -> tuple[list[LeaseLost | None], Counted]:
    """Keep the outcomes of a set of attempts; those of an attempt that is not ours are lost.

    Returns:
        For each settlement None, or LeaseLost when none of its recipients was still ours; and what
        is to be counted.
    """
    claims.keep_from_others(tx, [one.claim.attempt_id for one in settlements])
    held = claims.held(tx, [id_ for one in settlements for id_ in one.outcomes])
    overtaken = _overtaken(tx, held)
    changes = _Changes(terms, now=tx.now)
    results: list[LeaseLost | None] = []
    ended: list[Settlement] = []
    for one in settlements:
        ours = 0
        # One for all, so that they stay together in the next attempt; none where there is none.
        is_over = all(isinstance(each, _AT_REST) for each in one.outcomes.values())
        chance = 0.0 if is_over else _chance()
        for recipient_id, outcome in one.outcomes.items():
            row = held.get(recipient_id)
            if row is None or row.attempt_id != one.claim.attempt_id:
                continue
            if row.state == State.CLAIMED:
                changes.settle(_owed(one, row), outcome, chance, failed=_failed(one, outcome))
            elif recipient_id in overtaken:
                changes.complete(_owed(one, row), outcome, chance)
            else:
                continue
            ours += 1
        if ours:
            ended.append(one)
        results.append(None if ours else LeaseLost(one.claim.attempt_id))
    claims.end(tx, [_end(one) for one in ended])
    return results, changes.write(tx)


def recover(tx: Tx, attempts: Sequence[AttemptId], *, terms: Terms) -> tuple[int, int]:
    """Take back what these attempts hold: with a marker it is in doubt, without it was never tried.

    Returns:
        How many recipients were released, and how many are in doubt.
    """
    claims.keep_from_others(tx, attempts)
    held = claims.held_by(tx, attempts)
    rows_of = messages.by_ids(tx, {row.queue_id for row in held})
    owners = mailboxes.by_ids(tx, {row.mailbox_id for row in rows_of.values()})
    changes = _Changes(terms, now=tx.now)
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
            forward_path=row.forward_path,
            asked=_asked(row.notify) if message.reverse_path else NOBODY,
            is_delayed=row.delayed_at is not None,
        )
        changes.settle(owed, outcome, chances[row.attempt_id], failed=None)
    claims.close(tx, attempts)
    changes.write(tx)
    return len(held) - in_doubt, in_doubt


class _Changes:
    """What a set of outcomes changes, gathered to one statement per kind."""

    def __init__(self, terms: Terms, *, now: dt.datetime) -> None:
        self._terms = terms
        self._now = now
        self._rows: list[dict[str, Any]] = []
        self._events: list[Event] = []
        self._causes: list[Cause] = []
        self._notices: list[NoticeRow] = []
        self._delayed: list[RecipientId] = []
        self._delivered: list[RecipientId] = []

    def settle(
        self, owed: Owed, outcome: Outcome, chance: float, *, failed: _Refused | None
    ) -> None:
        """Take the outcome of a claimed recipient."""
        settled = self._judge(owed, outcome, chance)
        self._rows.append(_row(owed.recipient_id, settled, now=self._now))
        self._events.extend(settled.events)
        if failed is not None and refusal.suppresses(
            failed.outcome, phase=failed.phase, shared_by=failed.shared_by
        ):
            self._causes.append(self._cause(owed))
        if owed.asked and not isinstance(outcome, Released):
            self._tell(owed, settled)

    def complete(self, owed: Owed, outcome: Outcome, chance: float) -> None:
        """Take the outcome of one that has bounced meanwhile: it was delivered before that."""
        if isinstance(outcome, Delivered):
            self._delivered.append(owed.recipient_id)
            self._events.extend(self._judge(owed, outcome, chance).events)

    def write(self, tx: Tx) -> Counted:
        claims.settle(tx, self._rows)
        returns.note_delivery(tx, self._delivered)
        returns.note_delay(tx, self._delayed)
        notices.add(tx, self._notices)
        record.append(tx, self._events)
        return Counted(
            expired=sum(event.type is EventType.RECIPIENT_EXPIRED for event in self._events),
            suppressed=suppress(tx, self._causes),
            owed=len(self._notices),
        )

    def _judge(self, owed: Owed, outcome: Outcome, chance: float) -> Settled:
        return judge(owed, outcome, schedule=self._terms.schedule, now=self._now, chance=chance)

    def _cause(self, owed: Owed) -> Cause:
        return Cause(
            mailbox_id=owed.mailbox_id,
            queue_id=owed.queue_id,
            recipient_id=owed.recipient_id,
            address=Address.parse(owed.forward_path),
            why=Why.HARD_BOUNCE,
            source="smtp",
            expires_at=rules.expiry(Why.HARD_BOUNCE, self._terms.suppression, self._now),
        )

    def _tell(self, owed: Owed, settled: Settled) -> None:
        is_old = self._now - owed.accepted_at >= self._terms.delay_notice
        action = notify.action_of(
            settled.state,
            owed.asked,
            is_dsn_offered=owed.is_dsn_offered,
            is_late=is_old and not owed.is_delayed,
        )
        if action is None:
            return
        if action is Action.DELAYED:
            self._delayed.append(owed.recipient_id)
        self._notices.append(
            NoticeRow(
                notice_id=ids.uuid7(self._now),
                queue_id=owed.queue_id,
                recipient_id=owed.recipient_id,
                action=action.value,
                data=dict(settled.events[-1].data),
                created_at=self._now,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """A refusal, with what tells whether it is about the address."""

    outcome: Failed
    phase: str
    shared_by: int


def _failed(one: Settlement, outcome: Outcome) -> _Refused | None:
    """What refused a recipient of a submitter's real mail; None for every other outcome.

    Each RCPT is answered alone, so its outcome is a value of its own; what is answered later is
    given to all, and is one and the same object for them.
    """
    if not isinstance(outcome, Failed) or one.claim.sandbox or one.claim.reverse_path.is_null:
        return None
    shared_by = sum(each is outcome for each in one.outcomes.values())
    return _Refused(outcome=outcome, phase=one.attempt.phase, shared_by=shared_by)


def _overtaken(tx: Tx, held: Mapping[RecipientId, HeldRow]) -> set[RecipientId]:
    """Those that a report has moved while the attempt that holds them was open."""
    bounced = [row for row in held.values() if row.state == State.BOUNCED and not row.delivered_at]
    if not bounced:
        return set()
    open_ = claims.still_open(tx, {row.attempt_id for row in bounced})
    return {row.recipient_id for row in bounced if row.attempt_id in open_}


def _owed(one: Settlement, row: HeldRow) -> Owed:
    claim = one.claim
    return Owed(
        recipient_id=row.recipient_id,
        queue_id=claim.queue_id,
        mailbox_id=claim.mailbox_id,
        attempt_id=claim.attempt_id,
        next_hop=one.attempt.next_hop,
        attempts=row.attempts,
        accepted_at=claim.accepted_at,
        hold_in_doubt=claim.hold_in_doubt,
        forward_path=row.forward_path,
        asked=NOBODY if not row.notify or claim.reverse_path.is_null else _asked(row.notify),
        is_delayed=row.delayed_at is not None,
        is_dsn_offered=one.attempt.dsn_offered,
    )


def _asked(notify: str) -> frozenset[Notify]:
    return frozenset(Notify(word) for word in notify.split(",") if word)


def _row(recipient_id: RecipientId, settled: Settled, *, now: dt.datetime) -> dict[str, Any]:
    reply = settled.reply
    status = str(reply.status) if reply is not None and reply.status else settled.status
    return {
        "recipient_id": recipient_id,
        "state": settled.state.value,
        "attempts": settled.attempts,
        "due_at": settled.due_at,
        "reply_code": reply.code if reply is not None else None,
        "reply_status": status,
        "reason": settled.reason or (reply.text if reply is not None else ""),
        "delivered_at": now if settled.state is State.DELIVERED else None,
    }


def _end(one: Settlement) -> dict[str, Any]:
    return {
        "attempt_id": one.claim.attempt_id,
        "next_hop": one.attempt.next_hop,
        "phase": one.attempt.phase,
        "tls": one.attempt.tls,
        "transcript": one.attempt.transcript,
    }


def _chance() -> float:
    """Where in the jitter a wait falls: spreads retries, so it need not be repeatable."""
    return secrets.randbelow(1_000_000) / 1_000_000
