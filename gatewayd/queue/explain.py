"""Explain: where a message is, what decided that, the facts, the next attempt, what to do. Pure.

| state     | where it is                                | decided by                              |
|-----------|--------------------------------------------|-----------------------------------------|
| queued    | waits its turn, or until the next attempt  | who is before it; the last reply        |
| claimed   | is being delivered at this moment          | -                                       |
| delivered | the next hop has it                        | its reply                               |
| failed    | refused for good; not tried, because it    | the reply, or a rule of ours            |
|           | was suppressed while it waited             |                                         |
| expired   | given up                                   | the schedule, and the last reply        |
| in_doubt  | may have been taken                        | the mailbox's `on_in_doubt`             |
| held      | stopped                                    | an operator                             |
| cancelled | given up                                   | an operator                             |
| bounced   | was taken, and came back                   | the report, with class and reason, and  |
|           |                                            | the address behind an alias it is about |

Beside the state stand the facts of `facts.py`, each with its time.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gatewayd.events.types import EventType
from gatewayd.ids import QueueId, RecipientId
from gatewayd.queue import views
from gatewayd.queue.facts import COUNTED, Fact, Known, Seen, facts, forwarded_to, reported, shown
from gatewayd.queue.judge import SUPPRESSED
from gatewayd.queue.states import State
from gatewayd.queue.views import MessageView, RecipientView
from gatewayd.reports.bounce_class import classify
from gatewayd.reports.report import Reason
from gatewayd.store.events import EventRow

OVERDUE: Final = dt.timedelta(seconds=5)
RECENT: Final = dt.timedelta(minutes=10)  # trouble of others that may be trouble of this one
EVENTS_SHOWN: Final = 1000  # the latest
NOTHING: Final = "nothing"

ADVICE: Final[Mapping[Reason, str]] = {
    Reason.USER_UNKNOWN: "correct the address; it will not take mail however often it is sent",
    Reason.HOST_UNKNOWN: "correct the domain of the address",
    Reason.MAILBOX_FULL: "send it again in some days",
    Reason.INACTIVE: "stop writing to the address: nobody reads it",
    Reason.MOVED: "ask the recipient for the new address",
    Reason.BLOCKED: "ask the receiver why it blocks us; the reply may name a page for that",
    Reason.SPAM: "change what the message says, or ask the receiver to let it through",
    Reason.POLICY: "ask the receiver which rule it is; the reply may say it",
    Reason.AUTH_FAILURE: "check SPF, DKIM and DMARC: gatewayd domains dns DOMAIN",
    Reason.RATE_LIMITED: "send more slowly, and this one again later",
    Reason.TOO_LARGE: "make the message smaller",
    Reason.CONTENT: "change the form of the message: parts, encoding, attachments",
    Reason.LOOP: "ask the receiver to mend its forwarding",
    Reason.RELAYING_DENIED: "check the next hop: gatewayd mailboxes validate MAILBOX",
    Reason.EXPIRED: "ask the receiver whether its mail server runs, then send it again",
    Reason.NETWORK: "send it again when the receiver can be reached",
    Reason.SYSTEM: "send it again later: something is wrong at the receiver",
    Reason.PROTOCOL: "look at the transcript of the attempt, and ask the next hop",
    Reason.UNDEFINED: "read what was said, correct the cause, then send it again",
}
DEAD: Final = (Reason.USER_UNKNOWN, Reason.HOST_UNKNOWN, Reason.INACTIVE, Reason.MOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientAnswer:
    """The answer about one recipient.

    where: what follows the address in a sentence.
    decided_by: the reply, report, rule or person; "" when nothing was decided yet.
    advice: what to do; `nothing`, if nothing.
    """

    recipient_id: RecipientId
    address: str
    state: State
    where: str
    decided_by: str
    facts: tuple[Fact, ...]
    next_attempt_at: dt.datetime | None
    advice: str

    @property
    def line(self) -> str:
        """All of it but the facts, in one sentence."""
        decided = f" ({self.decided_by})" if self.decided_by else ""
        advice = "" if self.advice == NOTHING else f"; {self.advice}"
        return f"{self.address} {self.where}{decided}{advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One answer to "what happened to my mail"."""

    message: MessageView
    summary: str
    recipients: tuple[RecipientAnswer, ...]
    events: tuple[EventRow, ...]

    @property
    def queue_id(self) -> QueueId:
        return self.message.queue_id

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(each.line for each in self.recipients)


def explain(known: Known) -> Explanation:
    """The answer."""
    answers = tuple(_answer(Seen(known, row)) for row in known.recipients)
    return Explanation(
        message=known.message,
        summary=_summary(known.message, answers),
        recipients=answers,
        events=tuple(known.events[-EVENTS_SHOWN:]),
    )


def _answer(seen: Seen) -> RecipientAnswer:
    where, decided_by, advice = _STORIES[seen.view.state](seen)
    if seen.view.complained_at is not None:
        advice = "do not write to this recipient again: it was taken for spam"
    return RecipientAnswer(
        recipient_id=seen.view.recipient_id,
        address=seen.view.address,
        state=seen.view.state,
        where=where,
        decided_by=decided_by,
        facts=facts(seen),
        next_attempt_at=seen.view.next_attempt_at,
        advice=advice,
    )


Story = tuple[str, str, str]  # where it is, decided by, what to do


def _queued(seen: Seen) -> Story:
    view, now = seen.view, seen.known.now
    due = view.next_attempt_at
    is_due = due is None or due <= now
    if view.attempts and not is_due:
        when = f"the next attempt is at {shown(due)}"
        return f"was deferred {_tried(view)}; {when}", _said(seen), _patience(view.last_reply or "")
    if not is_due:
        return f"waits until {shown(due)}", "", NOTHING
    if due is None or now - due < OVERDUE:
        return "waits to be sent now", _said(seen), NOTHING
    waiting = seen.known.waiting
    where = f"has waited since {shown(due)}"
    if waiting.before:
        count = f"more than {COUNTED}" if waiting.before >= COUNTED else str(waiting.before)
        where += f": {count} other recipient(s) of this mailbox are before it"
    if waiting.trouble is not None and now - waiting.trouble[0] < RECENT:
        at, reason = waiting.trouble
        held = f"its next hop may be held back: at {shown(at)} other mail was deferred ({reason})"
        return f"{where}; {held}", _said(seen), _patience(reason)
    return where, _said(seen), NOTHING


def _claimed(seen: Seen) -> Story:
    since = f" since {shown(seen.attempt.started_at)}" if seen.attempt else ""
    return f"is being delivered at this moment{since}", "", NOTHING


def _delivered(seen: Seen) -> Story:
    where = f"was taken by the next hop at {shown(seen.view.delivered_at)}"
    return where, _said(seen), NOTHING


def _failed(seen: Seen) -> Story:
    if seen.row.reason == SUPPRESSED:
        where = (
            f"was not tried again {_tried(seen.view)}" if seen.view.attempts else "was not tried"
        )
        return where, _said(seen), "leave it out; or let an operator remove the suppression"
    where = f"was refused for good{_step(seen)} {_tried(seen.view)}"
    return where, _said(seen), _advice(seen)


def _expired(seen: Seen) -> Story:
    where = f"was given up {_tried(seen.view)}: no time or no try was left"
    return where, _said(seen), "correct the cause, then send it again"


def _in_doubt(seen: Seen) -> Story:
    where = "may have been taken: no reply came to the final dot"
    due = seen.view.next_attempt_at
    if due is None:
        rests = "it rests, because the mailbox holds what is in doubt"
        ask = "ask the recipient; then an operator retries or cancels it"
        return f"{where}; {rests}", _said(seen), ask
    when = "now" if due <= seen.known.now else f"at {shown(due)}"
    return f"{where}; it is sent again {when}, perhaps a second time", _said(seen), NOTHING


def _held(seen: Seen) -> Story:
    return "is held", seen.row.reason, "an operator releases, retries or cancels it"


def _cancelled(seen: Seen) -> Story:
    return "was cancelled", seen.row.reason, NOTHING


def _bounced(seen: Seen) -> Story:
    view = seen.view
    taken = (
        f"was taken by the next hop at {shown(view.delivered_at)} and " if view.delivered_at else ""
    )
    kind = ", ".join(word for word in (view.bounce_class, view.bounce_reason) if word)
    where = f"{taken}came back at {shown(view.bounced_at)}" + (f": {kind}" if kind else "")
    return where, reported(seen) or _said(seen), _advice(seen)


_STORIES: Final = {
    State.QUEUED: _queued,
    State.CLAIMED: _claimed,
    State.DELIVERED: _delivered,
    State.FAILED: _failed,
    State.EXPIRED: _expired,
    State.IN_DOUBT: _in_doubt,
    State.HELD: _held,
    State.CANCELLED: _cancelled,
    State.BOUNCED: _bounced,
}


def _tried(view: RecipientView) -> str:
    return f"after {view.attempts} attempt(s)"


def _said(seen: Seen) -> str:
    """The last reply or finding, and whose it was."""
    row = seen.row
    said = seen.view.last_reply
    if said is None:
        return ""
    if row.reply_code is None:
        return said
    next_hop = str(seen.last(*views.OUTCOMES).get("next_hop") or "")
    return f"{next_hop} said {said}" if next_hop else said


def _step(seen: Seen) -> str:
    """The step at which a recipient was refused, where that can be known.

    The final dot has one reply for all: who was refused while another recipient of the same
    attempt was delivered was refused at RCPT.
    """
    data, attempt = seen.last(EventType.RECIPIENT_FAILED), seen.attempt
    if seen.row.reply_code is None or attempt is None:
        return ""
    if attempt.marker_at is None and attempt.phase in ("mail", "rcpt", "data"):
        return f" at {attempt.phase.upper()}"
    is_shared = any(
        one.type == EventType.RECIPIENT_DELIVERED
        and one.data.get("attempt_id") == data.get("attempt_id")
        for one in seen.known.events
    )
    return " at RCPT" if is_shared and data else ""


def _advice(seen: Seen) -> str:
    """What helps against a refusal, by its reason."""
    row = seen.row
    if row.state == State.BOUNCED and row.bounce_reason in {reason.value for reason in Reason}:
        reason, behind = Reason(row.bounce_reason), forwarded_to(seen)
        if (
            behind
            and reason in DEAD
            and not seen.last(EventType.RECIPIENT_BOUNCED).get("suppressed")
        ):
            return f"ask the recipient to mend the forwarding to {behind}; this address may be well"
        return ADVICE[reason]
    if row.reply_code is None:
        return ADVICE[Reason.UNDEFINED]
    return ADVICE[classify(row.reply_status or "", row.reply_code, row.reason).reason]


def _patience(reason: str) -> str:
    """What to do about a deferral: mostly nothing, because it is tried again by itself."""
    if reason.startswith(("4.7.5", "4.7.0", "the mailbox's next hop refused")):
        return "check the next hop: gatewayd mailboxes validate MAILBOX"
    if reason.startswith("no route"):
        return "give the mailbox a next hop: gatewayd mailboxes update MAILBOX --next-hop-host HOST"
    return NOTHING


# The whole message.

_TOLD: Final = ("delayed", "opened", "clicked", "complained", "unsubscribed", "suppressed")


def _summary(message: MessageView, answers: Sequence[RecipientAnswer]) -> str:
    """One sentence: states, then the facts that people ask for."""
    states = Counter(each.state.value for each in answers)
    happened = Counter(what for each in answers for what in {fact.what for fact in each.facts})
    parts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    more = ", ".join(f"{happened[what]} {what}" for what in _TOLD if happened[what])
    kind = "a report of ours, made" if message.is_dsn else "accepted"
    by = "" if message.is_dsn else f" by {message.door}"
    told = f"; {more}" if more else ""
    return f"{kind} {shown(message.accepted_at)}{by}: {parts}{told}"
