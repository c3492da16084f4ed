"""queue.explain: one answer for each case, in plain words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gatewayd.events.types import EventType
from gatewayd.ids import AttemptId, EventId, MailboxId, QueueId, RecipientId
from gatewayd.queue.explain import ADVICE, NOTHING, Explanation, RecipientAnswer, explain
from gatewayd.queue.facts import COUNTED, Known, Waiting
from gatewayd.queue.states import State
from gatewayd.queue.views import MessageView
from gatewayd.reports.report import Reason
from gatewayd.store.claims import AttemptRow
from gatewayd.store.events import EventRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.suppressions import SuppressionRow

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
QUEUE_ID = QueueId("0193")
HOP = "mx.example.net:25"


def row(number: int = 0, state: State = State.QUEUED, **changed: Any) -> RecipientRow:  # noqa: ANN401 - any column
    given: dict[str, Any] = {
        "recipient_id": RecipientId(f"r{number}"), "queue_id": QUEUE_ID, "position": number,
        "lane": "m1", "forward_path": f"r{number}@example.net", "notify": "", "orcpt": None,
        "state": state.value, "attempts": 1, "due_at": None, "attempt_id": AttemptId("a1"),
        "reply_code": None, "reply_status": None, "reason": "", "delivered_at": None,
        "updated_at": NOW,
    }  # fmt: skip
    return RecipientRow(**{**given, **changed})


def event(kind: EventType, number: int = 0, at: dt.datetime = NOW, **data: Any) -> EventRow:  # noqa: ANN401 - any fact
    return EventRow(
        seq=1, event_id=EventId("e"), type=kind.value, at=at, mailbox_id=MailboxId("m1"),
        queue_id=QUEUE_ID, recipient_id=RecipientId(f"r{number}"), data=data,
    )  # fmt: skip


def attempt(*, phase: str = "dot", marked: bool = True) -> AttemptRow:
    return AttemptRow(
        attempt_id=AttemptId("a1"), queue_id=QUEUE_ID, started_at=NOW, lease_until=NOW,
        marker_at=NOW if marked else None, ended_at=NOW, next_hop=HOP, phase=phase, tls="",
        transcript="",
    )  # fmt: skip


def answer(
    *rows: RecipientRow,
    events: Sequence[EventRow] = (),
    attempts: Sequence[AttemptRow] = (),
    waiting: Waiting | None = None,
    suppressed: Mapping[RecipientId, SuppressionRow] | None = None,
    door: str = "smtp",
) -> Explanation:
    message = MessageView(
        queue_id=QUEUE_ID, mailbox="ann@example.com", door=door, accepted_at=NOW - HOUR,
        subject="hello", message_id="<1@example.com>", size_octets=100, sandbox=False, tags=(),
        metadata={}, track=(), reverse_path="ann@example.com", recipients=(), attempts=(),
    )  # fmt: skip
    return explain(
        Known(
            message=message,
            recipients=rows,
            attempts=attempts,
            events=events,
            now=NOW,
            waiting=waiting or Waiting(),
            suppressed=suppressed or {},
        )
    )


def one(recipient: RecipientRow, **known: Any) -> RecipientAnswer:  # noqa: ANN401 - any of `answer`
    (found,) = answer(recipient, **known).recipients
    return found


def test_one_refused_one_bounced_one_clicked_shows_exactly_that() -> None:
    """Three recipients, three fates, each with its reply, report or fact and its time."""
    refused = row(0, State.FAILED, reply_code=550, reply_status="5.1.1", reason="no such user")
    bounced = row(
        1, State.BOUNCED, delivered_at=NOW, bounced_at=NOW + HOUR, bounce_class="permanent",
        bounce_reason="inactive", reply_code=250, reply_status="2.0.0", reason="ok",
    )  # fmt: skip
    clicked = row(
        2, State.DELIVERED, delivered_at=NOW, opened_at=NOW + HOUR, clicked_at=NOW + 2 * HOUR,
        reply_code=250, reply_status="2.0.0", reason="ok",
    )  # fmt: skip
    hop: dict[str, Any] = {"attempt_id": "a1", "next_hop": HOP}
    told = [
        event(EventType.RECIPIENT_FAILED, 0, **hop, code=550),
        event(EventType.RECIPIENT_DELIVERED, 1, **hop, code=250),
        event(EventType.RECIPIENT_DELIVERED, 2, **hop, code=250),
        event(
            EventType.RECIPIENT_BOUNCED, 1, code=550, status="5.2.1",
            text="550 5.2.1 account disabled", reporting_mta="mail.example.net",
        ),
        event(EventType.RECIPIENT_CLICKED, 2, by="scanner", url="https://scanned.test/"),
        event(EventType.RECIPIENT_CLICKED, 2, by="person", url="https://example.org/a"),
    ]  # fmt: skip

    found = answer(refused, bounced, clicked, events=told, attempts=[attempt()])

    assert found.summary == (
        "accepted 2026-11-21 11:00:00 UTC by smtp: 1 bounced, 1 delivered, 1 failed; "
        "1 opened, 1 clicked"
    )
    assert found.lines == (
        (
            "r0@example.net was refused for good at RCPT after 1 attempt(s) "
            "(mx.example.net:25 said 550 5.1.1 no such user); "
            "correct the address; it will not take mail however often it is sent"
        ),
        (
            "r1@example.net was taken by the next hop at 2026-11-21 12:00:00 UTC and came back at "
            "2026-11-21 13:00:00 UTC: permanent, inactive (a report of mail.example.net said 550 "
            "5.2.1 account disabled); stop writing to the address: nobody reads it"
        ),
        (
            "r2@example.net was taken by the next hop at 2026-11-21 12:00:00 UTC "
            "(mx.example.net:25 said 250 2.0.0 ok)"
        ),
    )
    assert [
        [(fact.what, fact.at, fact.text) for fact in each.facts] for each in found.recipients
    ] == [
        [],
        [
            ("delivered", NOW, ""),
            (
                "bounced",
                NOW + HOUR,
                "permanent, inactive, a report of mail.example.net said 550 5.2.1 account disabled",
            ),
        ],
        [
            ("delivered", NOW, ""),
            ("opened", NOW + HOUR, ""),
            ("clicked", NOW + 2 * HOUR, "https://example.org/a"),
        ],
    ]


@pytest.mark.parametrize(
    ("recipient", "where", "advice"),
    [
        (row(attempts=0, due_at=NOW), "waits to be sent now", NOTHING),
        (
            row(attempts=0, due_at=NOW + HOUR),
            "waits until 2026-11-21 13:00:00 UTC",
            NOTHING,
        ),
        (
            row(due_at=NOW + HOUR),
            "was deferred after 1 attempt(s); the next attempt is at 2026-11-21 13:00:00 UTC",
            NOTHING,
        ),
        (
            row(due_at=NOW + HOUR, reason="no route: set a smarthost"),
            "was deferred after 1 attempt(s); the next attempt is at 2026-11-21 13:00:00 UTC",
            "give the mailbox a next hop: gatewayd mailboxes update MAILBOX --next-hop-host HOST",
        ),
        (
            row(due_at=NOW + HOUR, reason="4.7.5 STARTTLS is required"),
            "was deferred after 1 attempt(s); the next attempt is at 2026-11-21 13:00:00 UTC",
            "check the next hop: gatewayd mailboxes validate MAILBOX",
        ),
        (row(state=State.CLAIMED), "is being delivered at this moment", NOTHING),
        (
            row(state=State.EXPIRED, attempts=10),
            "was given up after 10 attempt(s): no time or no try was left",
            "correct the cause, then send it again",
        ),
        (
            row(state=State.IN_DOUBT, due_at=NOW + HOUR),
            (
                "may have been taken: no reply came to the final dot; "
                "it is sent again at 2026-11-21 13:00:00 UTC, perhaps a second time"
            ),
            NOTHING,
        ),
        (
            row(state=State.IN_DOUBT),
            (
                "may have been taken: no reply came to the final dot; "
                "it rests, because the mailbox holds what is in doubt"
            ),
            "ask the recipient; then an operator retries or cancels it",
        ),
        (row(state=State.HELD), "is held", "an operator releases, retries or cancels it"),
        (row(state=State.CANCELLED), "was cancelled", NOTHING),
        (
            row(state=State.FAILED, reply_status="5.6.7", reason="SMTPUTF8 is missing"),
            "was refused for good after 1 attempt(s)",
            ADVICE[Reason.UNDEFINED],
        ),
    ],
)
def test_where_it_is_and_what_to_do(recipient: RecipientRow, where: str, advice: str) -> None:
    found = one(recipient)

    assert (found.where, found.advice) == (where, advice)


@pytest.mark.parametrize(
    ("waiting", "where"),
    [
        (Waiting(), ""),
        (Waiting(before=7), ": 7 other recipient(s) of this mailbox are before it"),
        (
            Waiting(before=COUNTED),
            ": more than 1000 other recipient(s) of this mailbox are before it",
        ),
        (
            Waiting(trouble=(NOW, "connection refused")),
            (
                "; its next hop may be held back: at 2026-11-21 12:00:00 UTC "
                "other mail was deferred (connection refused)"
            ),
        ),
        (Waiting(trouble=(NOW - HOUR, "long ago")), ""),
    ],
)
def test_what_is_overdue_says_what_is_before_it(waiting: Waiting, where: str) -> None:
    """Nothing was said to it yet, so the queue around it is the answer."""
    found = one(row(attempts=0, due_at=NOW - HOUR), waiting=waiting)

    assert found.where == f"has waited since 2026-11-21 11:00:00 UTC{where}"


@pytest.mark.parametrize(
    ("phase", "marked", "step"),
    [("rcpt", False, " at RCPT"), ("mail", False, " at MAIL"), ("dot", True, "")],
)
def test_step_of_a_refusal_is_told_where_it_is_known(phase: str, marked: bool, step: str) -> None:
    """Without another recipient's success nobody can say whether RCPT or the dot was refused."""
    refused = row(state=State.FAILED, reply_code=550, reason="no")
    found = one(refused, attempts=[attempt(phase=phase, marked=marked)])

    assert found.where == f"was refused for good{step} after 1 attempt(s)"


def test_bounce_without_words_is_told_without_them() -> None:
    """A report that says nothing; the message was never seen to be delivered."""
    found = one(row(state=State.BOUNCED, bounced_at=NOW, bounce_class="unknown"))

    assert found.line == (
        "r0@example.net came back at 2026-11-21 12:00:00 UTC: unknown; " + ADVICE[Reason.UNDEFINED]
    )


def test_bounce_behind_an_alias_names_the_address_that_is_dead() -> None:
    """The report is about where the recipient's mail is sent on to; the alias may be well."""
    bounced = row(
        state=State.BOUNCED, bounced_at=NOW, bounce_class="permanent", bounce_reason="user_unknown"
    )
    told = event(
        EventType.RECIPIENT_BOUNCED, code=550, status="5.1.1", text="550 5.1.1 no such user",
        reporting_mta="mx", reported_address="bob@elsewhere.example", suppressed=False,
    )  # fmt: skip
    found = one(bounced, events=[told])

    assert found.decided_by == (
        "a report of mx said 550 5.1.1 no such user of bob@elsewhere.example, to which it was "
        "sent on"
    )
    assert found.decided_by in found.facts[0].text
    assert found.advice == (
        "ask the recipient to mend the forwarding to bob@elsewhere.example; "
        "this address may be well"
    )


@pytest.mark.parametrize(
    ("suppressed", "reason"), [(True, Reason.USER_UNKNOWN), (False, Reason.MAILBOX_FULL)]
)
def test_bounce_of_an_address_that_was_rewritten_keeps_its_advice(
    suppressed: bool, reason: Reason
) -> None:
    """Suppressed: the report meant the recipient itself. A full mailbox is emptied some day."""
    bounced = row(state=State.BOUNCED, bounced_at=NOW, bounce_reason=reason.value)
    told = event(
        EventType.RECIPIENT_BOUNCED, reported_address="bob@in.example", suppressed=suppressed
    )
    found = one(bounced, events=[told])

    assert found.advice == ADVICE[reason]
    assert found.decided_by == "a report speaks of bob@in.example, to which it was sent on"


def test_complaint_changes_what_to_do() -> None:
    told = [event(EventType.RECIPIENT_COMPLAINED, feedback_type="abuse")]
    found = one(row(state=State.DELIVERED, delivered_at=NOW, complained_at=NOW), events=told)

    assert found.advice == "do not write to this recipient again: it was taken for spam"
    assert ("complained", "abuse") in [(fact.what, fact.text) for fact in found.facts]


def test_every_fact_has_its_time_and_stands_in_its_order() -> None:
    recipient = row(
        state=State.DELIVERED, delivered_at=NOW, delayed_at=NOW + HOUR,
        machine_opened_at=NOW + 2 * HOUR, machine_clicked_at=NOW + 3 * HOUR,
        unsubscribed_at=NOW + 5 * HOUR,
    )  # fmt: skip
    told = [
        event(EventType.RECIPIENT_DELAYED, status="4.4.1", text="later", reporting_mta="mx"),
        event(EventType.RECIPIENT_OPENED, by="proxy"),
        event(
            EventType.RECIPIENT_NOTIFIED, at=NOW + 4 * HOUR, action="delayed", notice_queue_id="n1"
        ),
    ]
    listed = SuppressionRow(
        scope="m1", address_key="k", address="a", reason="unsubscribed", source="link",
        first_seen_at=NOW + 6 * HOUR, last_seen_at=NOW, expires_at=NOW + 9 * HOUR,
    )  # fmt: skip

    found = one(recipient, events=told, suppressed={RecipientId("r0"): listed})

    assert [(fact.what, fact.text) for fact in found.facts] == [
        ("delivered", ""),
        ("delayed", "mx later"),
        ("machine_opened", "proxy"),
        ("machine_clicked", ""),
        ("notified", "the submitter was sent a report (delayed): message n1"),
        ("unsubscribed", ""),
        (
            "suppressed",
            (
                "no new mail of this mailbox goes to this address until 2026-11-21 21:00:00 UTC: "
                "unsubscribed"
            ),
        ),
    ]


def test_report_of_ours_is_called_one() -> None:
    found = answer(row(state=State.DELIVERED), door="dsn")

    assert found.summary == "a report of ours, made 2026-11-21 11:00:00 UTC: 1 delivered"


def test_every_reason_has_its_advice() -> None:
    assert set(Reason) == set(ADVICE)
