"""What is known of a message, and of each recipient the facts beside its state.

| fact                           | from                                                            |
|--------------------------------|-----------------------------------------------------------------|
| delivered                      | the outcome; it stays when a report comes later                 |
| delayed, bounced               | a report, with what it said, and of which other address         |
| opened, clicked                | the first time by a person                                      |
| machine_opened, machine_clicked | the first time by a proxy or a scanner                         |
| complained, unsubscribed       | a feedback report; the recipient                                |
| notified                       | a report of ours to the submitter                               |
| suppressed                     | the list as it is now                                           |
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gatewayd.events.types import EventType
from gatewayd.ids import RecipientId
from gatewayd.queue import views
from gatewayd.queue.views import MessageView, RecipientView
from gatewayd.reports.dsn_compose import whole_reply
from gatewayd.store.claims import AttemptRow
from gatewayd.store.events import EventRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.suppressions import ALL, SuppressionRow

COUNTED: Final = 1000  # recipients before this one; more are "more than"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is known of the queue around a message whose time has come.

    before: recipients of the same lane that are due before it, counted up to COUNTED.
    trouble: when another recipient of the lane was last deferred, and why.
    """

    before: int = 0
    trouble: tuple[dt.datetime, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Everything that the answer is made of.

    suppressed: the live rows that keep mail of this mailbox from a recipient now.
    """

    message: MessageView
    recipients: Sequence[RecipientRow]
    attempts: Sequence[AttemptRow]
    events: Sequence[EventRow]
    now: dt.datetime
    waiting: Waiting = field(default_factory=Waiting)
    suppressed: Mapping[RecipientId, SuppressionRow] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that happened beside the state: a word, when, and what else is known."""

    what: str
    at: dt.datetime | None
    text: str = ""


class Seen:
    """One recipient, with what concerns it of all that is known."""

    def __init__(self, known: Known, row: RecipientRow) -> None:
        self.known = known
        self.row = row
        self.view: RecipientView = views.recipient(row)
        self.events = [one for one in known.events if one.recipient_id == row.recipient_id]
        self.attempt = next((a for a in known.attempts if a.attempt_id == row.attempt_id), None)

    def last(self, *types: EventType) -> Mapping[str, Any]:
        """The data of the latest event of these types; empty when there is none."""
        found = [one.data for one in self.events if one.type in types]
        return found[-1] if found else {}

    def first(self, kind: EventType, *, by_person: bool) -> Mapping[str, Any]:
        """The data of the first open or click by a person, or by a machine."""
        found = (
            one.data
            for one in self.events
            if one.type == kind and (one.data.get("by") == "person") is by_person
        )
        return next(found, {})


def facts(seen: Seen) -> tuple[Fact, ...]:
    """What is known beside the state, in the order of its time."""
    view = seen.view
    opened, clicked = EventType.RECIPIENT_OPENED, EventType.RECIPIENT_CLICKED
    found = [
        Fact(what="delivered", at=view.delivered_at),
        Fact(what="delayed", at=view.delayed_at, text=_delay(seen)),
        Fact(what="bounced", at=view.bounced_at, text=_bounce(seen)),
        Fact(what="opened", at=view.opened_at),
        Fact(what="clicked", at=view.clicked_at, text=_url(seen.first(clicked, by_person=True))),
        Fact(
            what="machine_opened",
            at=view.machine_opened_at,
            text=str(seen.first(opened, by_person=False).get("by") or ""),
        ),
        Fact(
            what="machine_clicked",
            at=view.machine_clicked_at,
            text=_url(seen.first(clicked, by_person=False)),
        ),
        Fact(
            what="complained",
            at=view.complained_at,
            text=str(seen.last(EventType.RECIPIENT_COMPLAINED).get("feedback_type") or ""),
        ),
        Fact(what="unsubscribed", at=view.unsubscribed_at),
    ]
    found = [fact for fact in found if fact.at is not None]
    found += [
        Fact(
            what="notified",
            at=event.at,
            text=f"the submitter was sent a report ({event.data.get('action')}): "
            f"message {event.data.get('notice_queue_id')}",
        )
        for event in seen.events
        if event.type == EventType.RECIPIENT_NOTIFIED
    ]
    row = seen.known.suppressed.get(view.recipient_id)
    if row is not None:
        found.append(Fact(what="suppressed", at=row.first_seen_at, text=_suppression(row)))
    return tuple(sorted(found, key=lambda fact: fact.at or seen.known.now))


def _delay(seen: Seen) -> str:
    data = seen.last(EventType.RECIPIENT_DELAYED)
    return " ".join(filter(None, (str(data.get("reporting_mta") or ""), _reply(data))))


def _bounce(seen: Seen) -> str:
    kind = (seen.row.bounce_class, seen.row.bounce_reason)
    return ", ".join([word for word in kind if word] + ([reported(seen)] if reported(seen) else []))


def _url(data: Mapping[str, Any]) -> str:
    return str(data.get("url") or "")


def _suppression(row: SuppressionRow) -> str:
    whose = "any mailbox" if row.scope == ALL else "this mailbox"
    until = f" until {shown(row.expires_at)}" if row.expires_at else ""
    return f"no new mail of {whose} goes to this address{until}: {row.reason}"


def reported(seen: Seen) -> str:
    """What the report said that brought it back, and of whom if that was another address."""
    data = seen.last(EventType.RECIPIENT_BOUNCED)
    said, other = _reply(data), forwarded_to(seen)
    if not (said or other):
        return ""
    reporter = str(data.get("reporting_mta") or "")
    report = f"a report of {reporter}" if reporter else "a report"
    of = f"of {other}, to which it was sent on" if other else ""
    return " ".join(filter(None, (report, "said" if said else "speaks", said, of)))


def forwarded_to(seen: Seen) -> str:
    """The address that the report names where it is not ours: behind an alias; "" otherwise."""
    return str(seen.last(EventType.RECIPIENT_BOUNCED).get("reported_address") or "")


def _reply(data: Mapping[str, Any]) -> str:
    code, status = data.get("code"), str(data.get("status") or "")
    text = str(data.get("text") or "")
    return whole_reply(code if isinstance(code, int) else None, status, text) or status


def shown(at: dt.datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"
