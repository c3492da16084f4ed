"""A reading to state, facts, suppression, events and notices: one transaction, once.

| effect of `decide` | row                | event                | notice, if NOTIFY asks for it   |
|--------------------|--------------------|----------------------|---------------------------------|
| BOUNCED            | bounced, facts     | recipient.bounced    | FAILURE: failed                 |
| NOTED              | facts              | recipient.bounced    | none: the outcome was told      |
| DELAYED            | delayed_at         | recipient.delayed    | DELAY: delayed                  |
| PROVED             | delivered          | recipient.delivered  | none                            |
| TOLD               | none               | none                 | SUCCESS: as it says, once       |
| a complaint        | complained_at      | recipient.complained | none                            |

The address is suppressed for the mailbox where `suppression/rules.py` says so and the report agrees
(`decide`). Sandbox mail suppresses nobody: it never leaves the machine, and what the simulator says
of an address must not keep real mail from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from gatewayd import ids
from gatewayd.bounces import complaints, decide
from gatewayd.bounces.complaints import Complaint
from gatewayd.bounces.decide import Candidate, Effect, Known, Meant
from gatewayd.bounces.reading import Reading, reverse_path_of
from gatewayd.bounces.returned import Kind, Taken, Unrecognised
from gatewayd.config.returns import SuppressionSection
from gatewayd.events import record
from gatewayd.events.types import Event, EventType
from gatewayd.ids import QueueId, RecipientId
from gatewayd.mail.address import Address
from gatewayd.mail.envelope import Notify
from gatewayd.queue.states import State
from gatewayd.reports.report import Action, Report
from gatewayd.store import messages, notices, returns
from gatewayd.store.database import Tx
from gatewayd.store.messages import MessageRow
from gatewayd.store.notices import NoticeRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.returns import BounceFact
from gatewayd.suppression import rules
from gatewayd.suppression.lists import Cause, suppress
from gatewayd.suppression.rules import Why

_NEEDS_MARKER = frozenset(State) - {State.DELIVERED, State.IN_DOUBT, State.BOUNCED}


@dataclass(slots=True)
class Kept:
    """What a reading has changed.

    bounced: the class of each recipient that came back.
    proved: recipients in doubt that were delivered.
    is_early: of some recipient the outcome is not known yet; the remote is to come again.
    """

    taken: Taken
    bounced: list[str] = field(default_factory=list)
    proved: int = 0
    owed: int = 0
    is_early: bool = False


def keep(tx: Tx, reading: Reading, *, section: SuppressionSection, is_quiet: bool) -> Kept:
    """Keep what a reading says. The same again changes nothing.

    Args:
        tx: the transaction.
        reading: what was said.
        section: how long an address is suppressed.
        is_quiet: whether not to record an event for what is not recognised.
    """
    book = _Book(tx, reading, section)
    kept = book.unrecognised(reading.why) if reading.why else book.judge()
    book.write(is_quiet=is_quiet)
    kept.taken = replace(kept.taken, suppressed=book.suppress())
    kept.owed = book.owed
    return kept


class _Book:
    """What one reading finds and changes."""

    def __init__(self, tx: Tx, reading: Reading, section: SuppressionSection) -> None:
        self._tx = tx
        self._reading = reading
        self._section = section
        self._rows = {row.recipient_id: row for row in returns.locked(tx, reading.idents)}
        self._messages = messages.by_ids(tx, {row.queue_id for row in self._rows.values()})
        self._facts: dict[Effect, list[BounceFact]] = {Effect.BOUNCED: [], Effect.NOTED: []}
        self._delayed: list[RecipientId] = []
        self._proved: list[RecipientId] = []
        self._complained: list[RecipientId] = []
        self._causes: list[Cause] = []
        self._notices: list[NoticeRow] = []
        self._events: list[Event] = []
        self._why: Unrecognised | None = None

    def judge(self) -> Kept:
        if not self._rows:
            return self.unrecognised(Unrecognised.FORGOTTEN)
        if self._reading.complaint is not None:
            return self._complaint(self._reading.complaint)
        if self._reading.report is None:
            raise AssertionError("a reading without a report has a reason")
        return self._report(self._reading.report)

    def unrecognised(self, why: Unrecognised) -> Kept:
        self._why = why
        return Kept(Taken(kind=Kind.UNRECOGNISED, why=why))

    def write(self, *, is_quiet: bool) -> None:
        tx = self._tx
        returns.bounce(tx, self._facts[Effect.BOUNCED])
        returns.note_bounce(tx, self._facts[Effect.NOTED])
        returns.deliver(tx, self._proved)
        returns.note_delay(tx, self._delayed)
        returns.complain(tx, self._complained)
        notices.add(tx, self._notices)
        if self._why is not None and not is_quiet:
            self._events.append(self._unrecognised_event(self._why))
        record.append(tx, self._events)

    @property
    def owed(self) -> int:
        """Reports to submitters that were put into the outbox."""
        return len(self._notices)

    def suppress(self) -> int:
        return suppress(self._tx, self._causes)

    # Reports of delivery.

    def _report(self, report: Report) -> Kept:
        meant = self._meant(report)
        if not meant:
            return self.unrecognised(Unrecognised.OTHER_RECIPIENT)
        marked = self._marked(meant)
        effects: list[Effect] = []
        touched: set[RecipientId] = set()
        bounced: list[str] = []
        for recipient_id, one in meant.items():
            row = self._rows[recipient_id]
            known = Known(
                state=State(row.state),
                is_handed_over=row.queue_id in marked,
                is_bounced=row.bounced_at is not None,
                is_delayed=row.delayed_at is not None,
            )
            done = decide.decide(known, one.told.action)
            effects.extend(done)
            for effect in done:
                if self._do(effect, row, one, report):
                    touched.add(recipient_id)
                if effect in self._facts:
                    bounced.append(one.told.verdict.klass.value)
        if effects and all(effect is Effect.IMPOSSIBLE for effect in effects):
            return self.unrecognised(Unrecognised.NOT_HANDED_OVER)
        return Kept(
            Taken(kind=Kind.REPORT, changes=len(touched)),
            bounced=bounced,
            proved=len(self._proved),
            is_early=Effect.EARLY in effects,
        )

    def _meant(self, report: Report) -> dict[RecipientId, Meant]:
        """Whom the report means: by each id that it came to, one recipient or some of a message."""
        found: dict[RecipientId, Meant] = {}
        for ident in sorted(self._reading.idents):
            candidates = [
                Candidate(
                    recipient_id=row.recipient_id, forward_path=row.forward_path, orcpt=row.orcpt
                )
                for row in self._rows.values()
                if ident in (row.recipient_id, row.queue_id)
            ]
            found.update(decide.meant(candidates, report.recipients))
        return found

    def _marked(self, meant: Iterable[RecipientId]) -> set[QueueId]:
        rows = (self._rows[recipient_id] for recipient_id in meant)
        wanted = {row.queue_id for row in rows if State(row.state) in _NEEDS_MARKER}
        return returns.marked(self._tx, wanted)

    def _do(self, effect: Effect, row: RecipientRow, meant: Meant, report: Report) -> bool:
        """Do one effect; whether anything new is known by it."""
        match effect:
            case Effect.BOUNCED | Effect.NOTED:
                self._bounce(effect, row, meant, report)
            case Effect.DELAYED:
                data = _said(meant, report)
                self._delayed.append(row.recipient_id)
                self._tell(EventType.RECIPIENT_DELAYED, row, data)
                self._notify(row, Notify.DELAY, Action.DELAYED, data)
            case Effect.PROVED:
                self._proved.append(row.recipient_id)
                self._tell(EventType.RECIPIENT_DELIVERED, row, _said(meant, report))
            case Effect.TOLD:
                return self._succeed(row, meant, report)
            case Effect.EARLY | Effect.IMPOSSIBLE:
                return False
        return True

    def _bounce(self, effect: Effect, row: RecipientRow, meant: Meant, report: Report) -> None:
        verdict = meant.told.verdict
        suppresses = (
            meant.agreement.may_suppress
            and rules.suppresses(verdict)
            and not self._message(row).sandbox
        )
        self._facts[effect].append(
            BounceFact(
                recipient_id=row.recipient_id,
                klass=verdict.klass.value,
                reason=verdict.reason.value,
            )
        )
        data = {
            "class": verdict.klass.value,
            "reason": verdict.reason.value,
            "action": meant.told.action.value,
            "suppressed": suppresses,
            **_said(meant, report),
        }
        if meant.told.address and decide.same(meant.told.address) != decide.same(row.forward_path):
            data["reported_address"] = meant.told.address
        self._tell(EventType.RECIPIENT_BOUNCED, row, data)
        if suppresses:
            self._cause(row, Why.HARD_BOUNCE, source="dsn")
        if effect is Effect.BOUNCED:
            self._notify(row, Notify.FAILURE, Action.FAILED, data)

    def _succeed(self, row: RecipientRow, meant: Meant, report: Report) -> bool:
        """Pass the good news on to a submitter who asked for it."""
        if Notify.SUCCESS.value not in row.notify.split(","):
            return False
        action = meant.told.action
        notice_id = _only_id(row.recipient_id, action)
        if notices.waiting(self._tx, [notice_id]) or (row.recipient_id, action.value) in (
            returns.told(self._tx, [row.queue_id], word=EventType.RECIPIENT_NOTIFIED.value)
        ):
            return False
        self._notify(row, Notify.SUCCESS, action, _said(meant, report), notice_id=notice_id)
        return True

    # Complaints.

    def _complaint(self, complaint: Complaint) -> Kept:
        senders = {row.queue_id: row.reverse_path for row in self._messages.values()}
        found = complaints.complainers(complaint, self._rows, senders)
        if not found:
            return self.unrecognised(Unrecognised.OTHER_RECIPIENT)
        news = [row for row in found if row.complained_at is None]
        if not complaint.is_complaint:
            news = []
        for row in news:
            suppresses = not self._message(row).sandbox
            self._complained.append(row.recipient_id)
            data = {
                "feedback_type": complaint.feedback_type,
                "source": complaint.source or self._reading.returned.peer,
                "suppressed": suppresses,
            }
            self._tell(EventType.RECIPIENT_COMPLAINED, row, data)
            if suppresses:
                self._cause(row, Why.COMPLAINT, source="complaint")
        return Kept(Taken(kind=Kind.COMPLAINT, changes=len(news)))

    # Both.

    def _cause(self, row: RecipientRow, why: Why, *, source: str) -> None:
        self._causes.append(
            Cause(
                mailbox_id=self._message(row).mailbox_id,
                queue_id=row.queue_id,
                recipient_id=row.recipient_id,
                address=Address.parse(row.forward_path),
                why=why,
                source=source,
                expires_at=rules.expiry(why, self._section, self._tx.now),
            )
        )

    def _notify(
        self,
        row: RecipientRow,
        asked: Notify,
        action: Action,
        data: dict[str, Any],
        *,
        notice_id: str | None = None,
    ) -> None:
        is_null = not self._message(row).reverse_path  # nobody to tell (RFC 3464 2)
        if is_null or asked.value not in row.notify.split(","):
            return
        self._notices.append(
            NoticeRow(
                notice_id=notice_id or ids.uuid7(self._tx.now),
                queue_id=row.queue_id,
                recipient_id=row.recipient_id,
                action=action.value,
                data=data,
                created_at=self._tx.now,
            )
        )

    def _tell(self, kind: EventType, row: RecipientRow, data: dict[str, Any]) -> None:
        self._events.append(
            Event(
                type=kind,
                mailbox_id=self._message(row).mailbox_id,
                queue_id=row.queue_id,
                recipient_id=row.recipient_id,
                data=data,
            )
        )

    def _unrecognised_event(self, why: Unrecognised) -> Event:
        row = next(iter(self._rows.values()), None)
        is_one = row is not None and row.recipient_id in self._reading.idents
        returned = self._reading.returned
        return Event(
            type=EventType.RETURN_UNRECOGNISED,
            mailbox_id=self._message(row).mailbox_id if row else None,
            queue_id=row.queue_id if row else None,
            recipient_id=row.recipient_id if row is not None and is_one else None,
            data={
                "why": why.value,
                "reverse_path": str(reverse_path_of(returned)),
                "size_octets": len(returned.octets),
            },
        )

    def _message(self, row: RecipientRow) -> MessageRow:
        return self._messages[row.queue_id]


def _said(meant: Meant, report: Report) -> dict[str, Any]:
    """What the report says of a recipient, for events and notices."""
    told = meant.told
    data: dict[str, Any] = {
        "status": told.status,
        "text": told.diagnostic,
        "reporting_mta": report.reporting_mta,
    }
    if told.code is not None:
        data["code"] = told.code
    if told.remote_mta:
        data["remote_mta"] = told.remote_mta
    return data


def _only_id(recipient_id: RecipientId, action: Action) -> str:
    """The id of the one notice of this action for a recipient; it sorts by time of acceptance."""
    drawn = hashlib.sha256(f"{recipient_id} {action.value}".encode()).hexdigest()
    return f"{recipient_id[:14]}{drawn[:4]}-{drawn[4:8]}-{drawn[8:20]}"
