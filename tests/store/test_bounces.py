"""bounces: a report moves its recipient once, and no other; facts, suppression, event, notice."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from gatewayd import ids
from gatewayd.bounces.pipeline import Kind, Returned, Taken, Unrecognised
from gatewayd.config.returns import SuppressionSection
from gatewayd.errors import LeaseLost, Refused
from gatewayd.mail.address import NULL, ReversePath
from gatewayd.mail.outcome import Failed, InDoubt, Outcome
from gatewayd.mail.reply import Reply
from gatewayd.queue.states import State
from gatewayd.store import claims, notices
from tests.fakes.clock import NOW
from tests.fakes.returning import RECORD, TAKEN, Returning, arf, dsn, group
from tests.fakes.world import ANN, World

PERSON = ReversePath.parse("eve@example.net")
IN_DOUBT = InDoubt("timeout")
GONE = group(status="5.1.1")
FULL = group(status="4.2.2", said="452 4.2.2 mailbox full")


@pytest.fixture
def returning(world: World) -> Returning:
    return Returning(world=world)


async def test_failure_of_a_delivered_recipient_bounces_it(returning: Returning) -> None:
    """State, facts, suppression and events in one transaction; what was delivered stays told."""
    queue_id = await returning.sent(notify="FAILURE")
    row = await returning.row(queue_id)
    returning.world.clock.advance(seconds=60)

    taken = await returning.take(row.recipient_id, dsn(GONE))

    assert Taken(kind=Kind.REPORT, changes=1, suppressed=1) == taken
    after = await returning.row(queue_id)
    assert (after.state, after.delivered_at, after.due_at) == (State.BOUNCED, NOW, None)
    assert after.bounced_at == returning.world.clock.now()
    assert (after.bounce_class, after.bounce_reason) == ("permanent", "user_unknown")
    assert (after.reply_code, after.reason) == (250, "ok")
    assert await returning.words(queue_id) == [
        "recipient.delivered", "recipient.bounced", "suppression.added",
    ]  # fmt: skip
    assert (await returning.told(queue_id))[2].data == {
        "class": "permanent", "reason": "user_unknown", "action": "failed", "suppressed": True,
        "status": "5.1.1", "code": 550, "text": "550 5.1.1 no such user",
        "reporting_mta": "mx.example",
    }  # fmt: skip
    assert await returning.suppressed() == [("bob@example.net", "hard_bounce", "dsn")]
    assert await returning.notices() == [(row.recipient_id, "failed")]
    assert returning.counted("outbound_messages_bounced_total", type="permanent") == 1
    assert returning.counted("bounce_reports_total") == 1
    assert returning.counted("bounce_suppressions_total") == 1


async def test_same_report_many_times_changes_one_row_once(returning: Returning) -> None:
    """By one and by two daemons, together and one after the other: one event, one suppression."""
    queue_id = await returning.sent(notify="FAILURE")
    other = Returning(world=returning.world.second())
    recipient_id = (await returning.row(queue_id)).recipient_id
    octets = dsn(GONE)

    taken = await asyncio.gather(
        *(one.take(recipient_id, octets) for _ in range(100) for one in (returning, other))
    )

    assert sum(one.changes for one in taken) == 1
    before = await returning.row(queue_id), await returning.told(queue_id)
    returning.world.clock.advance(days=1)
    assert await returning.take(recipient_id, octets) == Taken(kind=Kind.REPORT)
    assert (await returning.row(queue_id), await returning.told(queue_id)) == before
    assert len(before[1]) == 4
    assert len(await returning.notices()) == 1
    counts = [
        one.counted("outbound_messages_bounced_total", type="permanent")
        for one in (returning, other)
    ]
    assert sum(counts) == 1


async def test_transient_failure_suppresses_nobody(returning: Returning) -> None:
    queue_id = await returning.sent()
    recipient_id = (await returning.row(queue_id)).recipient_id

    taken = await returning.take(recipient_id, dsn(FULL))

    row = await returning.row(queue_id)
    assert taken == Taken(kind=Kind.REPORT, changes=1)
    assert (row.state, row.bounce_class, row.bounce_reason) == (
        State.BOUNCED, "transient", "mailbox_full",
    )  # fmt: skip
    assert await returning.suppressed() == []
    assert await returning.notices() == []  # no NOTIFY: nobody is told
    assert returning.counted("outbound_messages_bounced_total", type="transient") == 1


async def test_delay_is_noted_once_and_told(returning: Returning) -> None:
    """`action: delayed` is not a failure (RFC 3464 2.3.3)."""
    queue_id = await returning.sent(notify="DELAY")
    recipient_id = (await returning.row(queue_id)).recipient_id
    octets = dsn(group(action="delayed", status="4.4.1", said="421 no answer"))

    taken = [await returning.take(recipient_id, octets) for _ in range(3)]

    row = await returning.row(queue_id)
    assert [one.changes for one in taken] == [1, 0, 0]
    assert (row.state, row.delayed_at, row.bounced_at) == (State.DELIVERED, NOW, None)
    assert await returning.words(queue_id) == ["recipient.delivered", "recipient.delayed"]
    assert await returning.notices() == [(recipient_id, "delayed")]


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
async def test_success_is_passed_on_once_to_who_asked(returning: Returning, action: str) -> None:
    """While it waits in the outbox, and after it was sent."""
    queue_id = await returning.sent(notify="SUCCESS", offers_dsn=True)
    recipient_id = (await returning.row(queue_id)).recipient_id
    octets = dsn(group(action=action, status="2.0.0", said="250 ok"))

    taken = [await returning.take(recipient_id, octets) for _ in range(2)]
    (notice,) = await returning.world.database.write(lambda tx: notices.take(tx, 10))
    await returning.notified(notice)
    taken.append(await returning.take(recipient_id, octets))

    assert (notice.recipient_id, notice.action) == (recipient_id, action)
    assert [one.changes for one in taken] == [1, 0, 0]
    assert await returning.notices() == []
    assert (await returning.row(queue_id)).state == State.DELIVERED


async def test_success_is_told_to_nobody_who_did_not_ask(returning: Returning) -> None:
    queue_id = await returning.sent(notify="FAILURE")
    recipient_id = (await returning.row(queue_id)).recipient_id

    taken = await returning.take(recipient_id, dsn(group(action="relayed", status="2.0.0")))

    assert taken == Taken(kind=Kind.REPORT)
    assert await returning.notices() == []


async def test_report_of_success_proves_what_was_in_doubt(returning: Returning) -> None:
    """The next hop has it: a second copy would be one too many."""
    queue_id = await returning.sent(outcome=IN_DOUBT)
    recipient_id = (await returning.row(queue_id)).recipient_id
    returning.world.clock.advance(seconds=60)

    await returning.take(recipient_id, dsn(group(action="relayed", status="2.0.0", said="250 ok")))

    row = await returning.row(queue_id)
    assert (row.state, row.due_at) == (State.DELIVERED, None)
    assert row.delivered_at == returning.world.clock.now()
    returning.world.clock.advance(days=5)
    assert await returning.world.queue.requeue_in_doubt() == 0
    assert await returning.words(queue_id) == ["recipient.in_doubt", "recipient.delivered"]
    assert returning.counted("outbound_messages_sent_total") == 1


async def test_failure_bounces_what_was_in_doubt(returning: Returning) -> None:
    """When it was delivered nobody knows, so nobody says."""
    queue_id = await returning.sent(outcome=IN_DOUBT)
    recipient_id = (await returning.row(queue_id)).recipient_id

    await returning.take(recipient_id, dsn(GONE))

    row = await returning.row(queue_id)
    assert (row.state, row.due_at, row.delivered_at) == (State.BOUNCED, None, None)


async def test_report_before_any_hand_over_is_to_come_again(returning: Returning) -> None:
    """Queued or claimed, without a marker: nothing is stored, and the remote is told 451."""
    queue_id = await returning.queued()
    recipient_id = (await returning.row(queue_id)).recipient_id

    async def is_refused() -> None:
        before = await returning.row(queue_id), await returning.told(queue_id)
        with pytest.raises(Refused) as refused:
            await returning.take(recipient_id, dsn(GONE))
        assert (refused.value.code, refused.value.status) == ("report_too_early", "4.5.0")
        assert (await returning.row(queue_id), await returning.told(queue_id)) == before

    await is_refused()
    (claim,) = await returning.claim()
    await is_refused()
    await returning.world.queue.mark(claim)

    assert (await returning.take(recipient_id, dsn(GONE))).changes == 1
    assert (await returning.row(queue_id)).state == State.BOUNCED
    assert returning.counted("bounce_reports_total") == 1


@pytest.mark.parametrize(
    "outcome", [Failed("no", Reply(550, None, "no such user")), IN_DOUBT], ids=["failed", "doubt"]
)
async def test_outcome_after_the_report_changes_nothing(
    returning: Returning, outcome: Outcome
) -> None:
    """The report was faster than the reply to the dot; only the record of the attempt is added."""
    queue_id = await returning.queued()
    (claim,) = await returning.claim()
    await returning.world.queue.mark(claim)
    await returning.take(claim.recipients[0].recipient_id, dsn(FULL))
    before = await returning.row(queue_id), await returning.told(queue_id)

    await returning.settle(claim, outcome)

    assert (await returning.row(queue_id), await returning.told(queue_id)) == before
    assert await returning.suppressed() == []
    (attempt,) = (await returning.world.inspector.message(queue_id, None)).attempts
    assert (attempt.ended_at, attempt.transcript) == (NOW, "C: MAIL")
    with pytest.raises(LeaseLost):
        await returning.settle(claim, outcome)


async def test_delivery_after_the_report_is_still_told(returning: Returning) -> None:
    """Both facts are kept, in whichever order they came; the state is bounced."""
    queue_id = await returning.queued(notify="SUCCESS")
    (claim,) = await returning.claim()
    await returning.world.queue.mark(claim)
    await returning.take(claim.recipients[0].recipient_id, dsn(GONE))

    await returning.settle(claim, TAKEN)

    row = await returning.row(queue_id)
    assert (row.state, row.delivered_at, row.bounced_at) == (State.BOUNCED, NOW, NOW)
    assert await returning.words(queue_id) == [
        "recipient.bounced", "suppression.added", "recipient.delivered",
    ]  # fmt: skip
    assert await returning.notices() == []
    with pytest.raises(LeaseLost):
        await returning.settle(claim, TAKEN)
    assert len(await returning.words(queue_id)) == 3


async def test_outcome_of_an_attempt_that_ended_adds_nothing(returning: Returning) -> None:
    """In doubt, bounced by a report, then the worker asks again after a lost answer."""
    queue_id = await returning.queued()
    (claim,) = await returning.claim()
    await returning.world.queue.mark(claim)
    await returning.settle(claim, IN_DOUBT)
    await returning.take(claim.recipients[0].recipient_id, dsn(GONE))
    before = await returning.row(queue_id), await returning.told(queue_id)

    with pytest.raises(LeaseLost):
        await returning.settle(claim, TAKEN)

    assert (await returning.row(queue_id), await returning.told(queue_id)) == before


async def test_recovery_leaves_the_bounced_alone(returning: Returning) -> None:
    """The daemon died between the report and the outcome."""
    queue_id = await returning.queued()
    (claim,) = await returning.claim()
    await returning.world.queue.mark(claim)
    await returning.take(claim.recipients[0].recipient_id, dsn(GONE))

    assert await returning.world.queue.recover(all_leases=True) == (0, 0)

    assert (await returning.row(queue_id)).state == State.BOUNCED
    open_ = await returning.world.database.read(
        lambda tx: claims.still_open(tx, [claim.attempt_id])
    )
    assert open_ == set()


async def test_report_about_another_address_suppresses_nobody(returning: Returning) -> None:
    """The copy came back, the MAC says so; the address that died is not the one we wrote to."""
    queue_id = await returning.sent()
    recipient_id = (await returning.row(queue_id)).recipient_id

    taken = await returning.take(recipient_id, dsn(group("robert@elsewhere.example")))

    assert taken == Taken(kind=Kind.REPORT, changes=1)
    assert (await returning.row(queue_id)).state == State.BOUNCED
    data = (await returning.told(queue_id))[-1].data
    assert (data["reported_address"], data["suppressed"]) == ("robert@elsewhere.example", False)
    assert await returning.suppressed() == []


async def test_rewritten_address_that_agrees_is_noted(returning: Returning) -> None:
    queue_id = await returning.sent()
    recipient_id = (await returning.row(queue_id)).recipient_id
    told = group("robert@internal.example", original="BOB@example.net")

    await returning.take(recipient_id, dsn(told))

    assert (await returning.told(queue_id))[2].data["reported_address"] == "robert@internal.example"
    assert await returning.suppressed() == [("bob@example.net", "hard_bounce", "dsn")]


async def test_report_of_a_shared_message_moves_whom_it_names(returning: Returning) -> None:
    """Several groups, several recipients (RFC 3464 2.3); nobody of another message."""
    queue_id = await returning.sent("bob@example.net", "zoe@example.org", "kim@example.org")
    other = await returning.sent("bob@example.net", "eve@example.net")
    before = await returning.rows(other)
    delayed = group("zoe@example.org", action="delayed", status="4.4.1", said="421 busy")

    taken = await returning.take(queue_id, dsn(GONE, delayed, group("eve@example.net")))

    assert taken == Taken(kind=Kind.REPORT, changes=2, suppressed=1)
    rows = {row.forward_path: row for row in await returning.rows(queue_id)}
    assert [row.state for row in rows.values()] == [
        State.BOUNCED, State.DELIVERED, State.DELIVERED,
    ]  # fmt: skip
    assert rows["zoe@example.org"].delayed_at == NOW
    assert rows["kim@example.org"].delayed_at is None
    assert await returning.rows(other) == before
    assert await returning.suppressed() == [("bob@example.net", "hard_bounce", "dsn")]


async def test_report_of_a_shared_message_that_names_nobody(returning: Returning) -> None:
    queue_id = await returning.sent("bob@example.net", "zoe@example.org")
    before = await returning.rows(queue_id)

    taken = await returning.take(queue_id, dsn(group("eve@example.net")))

    assert taken == Taken(kind=Kind.UNRECOGNISED, why=Unrecognised.OTHER_RECIPIENT)
    assert await returning.rows(queue_id) == before
    assert (await returning.told(queue_id))[-1].type == "return.unrecognised"
    assert returning.counted("bounce_rejected_total") == 1


async def test_one_that_is_early_keeps_no_other_back(returning: Returning) -> None:
    """What is known is kept; the remote comes again for the rest."""
    queue_id = await returning.queued("bob@example.net", "zoe@example.org")
    (claim,) = await returning.claim()
    bob, zoe = claim.recipients
    outcomes: dict[Any, Outcome] = {
        bob.recipient_id: TAKEN, zoe.recipient_id: Failed("never", status="5.3.0"),
    }  # fmt: skip
    await returning.world.queue.settle(claim, outcomes, RECORD)
    await returning.world.inspector.retry(queue_id, by="test")

    with pytest.raises(Refused):
        await returning.take(queue_id, dsn(GONE, group("zoe@example.org")))

    assert [row.state for row in await returning.rows(queue_id)] == [State.BOUNCED, State.QUEUED]
    assert returning.counted("outbound_messages_bounced_total", type="permanent") == 1


@pytest.mark.parametrize(
    ("marked", "kind"), [(True, Kind.REPORT), (False, Kind.UNRECOGNISED)], ids=["sent", "unsent"]
)
async def test_failure_of_what_an_operator_cancelled(
    returning: Returning, marked: bool, kind: Kind
) -> None:
    """Noted where a copy may have gone out; the operator's word stands. Else it is not believed."""
    queue_id = await returning.queued()
    recipient_id = (await returning.row(queue_id)).recipient_id
    if marked:
        (claim,) = await returning.claim()
        await returning.world.queue.mark(claim)
        await returning.settle(claim, IN_DOUBT)
    await returning.world.inspector.cancel(queue_id, by="test")

    taken = [await returning.take(recipient_id, dsn(GONE)) for _ in range(2)]

    row = await returning.row(queue_id)
    assert [one.kind for one in taken] == [kind, kind]
    assert [one.changes for one in taken] == [int(marked), 0]
    assert (row.state, row.bounced_at) == (State.CANCELLED, NOW if marked else None)
    assert len(await returning.suppressed()) == int(marked)


@pytest.mark.parametrize(
    ("octets", "path", "why"),
    [
        (dsn(GONE), PERSON, "reverse_path_not_null"),
        (b"From: eve@example.net\r\nSubject: lunch\r\n\r\nAt noon?", NULL, "not_a_report"),
    ],
)
async def test_what_is_not_recognised_is_told_once_an_hour(
    returning: Returning, octets: bytes, path: ReversePath, why: str
) -> None:
    """It changes no state, and its sender cannot fill the log of events."""
    queue_id = await returning.sent()
    row = await returning.row(queue_id)

    for _ in range(5):
        await returning.take(row.recipient_id, octets, reverse_path=path)

    assert await returning.row(queue_id) == row
    assert await returning.words(queue_id) == ["recipient.delivered", "return.unrecognised"]
    told = (await returning.told(queue_id))[-1]
    assert told.data == {
        "why": why, "reverse_path": str(path), "size_octets": len(octets),
    }  # fmt: skip
    assert (told.recipient_id, told.mailbox_id) == (
        row.recipient_id, (await returning.told(queue_id))[0].mailbox_id,
    )  # fmt: skip
    assert returning.counted("bounce_rejected_total") == 5
    returning.world.clock.advance(seconds=3601)
    await returning.take(row.recipient_id, octets, reverse_path=path)
    assert len(await returning.words(queue_id)) == 3


async def test_report_about_a_message_that_is_forgotten(returning: Returning) -> None:
    """Its MAC is ours; retention has removed the rest."""
    taken = await returning.take(ids.recipient_id(NOW), dsn(GONE))

    assert taken == Taken(kind=Kind.UNRECOGNISED, why=Unrecognised.FORGOTTEN)


async def test_known_are_recipients_and_messages(returning: Returning) -> None:
    queue_id = await returning.queued()
    recipient_id = (await returning.row(queue_id)).recipient_id
    asked = (queue_id, recipient_id, ids.uuid7(NOW))

    assert [await returning.bounces.known(one) for one in asked] == [True, True, False]


async def test_sandbox_mail_suppresses_nobody(returning: Returning) -> None:
    """The simulator plays dead addresses; real mail to them must not be refused for that."""
    queue_id = await returning.sent(sandbox=True)
    recipient_id = (await returning.row(queue_id)).recipient_id

    taken = await returning.take(recipient_id, dsn(GONE))

    assert taken == Taken(kind=Kind.REPORT, changes=1)
    assert (await returning.told(queue_id))[-1].data["suppressed"] is False
    original = f"Return-Path: <{returning.reverse_paths.make(recipient_id)}>\r\n\r\n".encode()
    assert (await returning.complain(arf(original))).changes == 1
    assert await returning.suppressed() == []


async def test_report_without_envelope_is_found_by_what_it_carries(returning: Returning) -> None:
    """As `bounces ingest` brings it."""
    queue_id = await returning.sent()
    recipient_id = (await returning.row(queue_id)).recipient_id
    to = str(returning.reverse_paths.make(recipient_id))

    taken = await returning.bounces.take(
        Returned(reverse_path=None, octets=dsn(GONE, to=to), peer="report.eml")
    )

    assert taken == Taken(kind=Kind.REPORT, changes=1, suppressed=1)


async def test_complaint_is_noted_once_and_suppresses(returning: Returning) -> None:
    queue_id = await returning.sent()
    recipient_id = (await returning.row(queue_id)).recipient_id
    original = f"Return-Path: <{returning.reverse_paths.make(queue_id)}>\r\n\r\nHello".encode()

    taken = [await returning.complain(arf(original)) for _ in range(3)]

    row = await returning.row(queue_id)
    assert [(one.kind, one.changes, one.suppressed) for one in taken] == [
        (Kind.COMPLAINT, 1, 1), (Kind.COMPLAINT, 0, 0), (Kind.COMPLAINT, 0, 0),
    ]  # fmt: skip
    assert (row.state, row.complained_at) == (State.DELIVERED, NOW)
    assert await returning.words(queue_id) == [
        "recipient.delivered", "recipient.complained", "suppression.added",
    ]  # fmt: skip
    assert (await returning.told(queue_id))[2].data == {
        "feedback_type": "abuse", "source": "192.0.2.9", "suppressed": True,
    }  # fmt: skip
    assert (await returning.told(queue_id))[2].recipient_id == recipient_id
    assert await returning.suppressed() == [("bob@example.net", "complaint", "complaint")]


async def test_complaint_by_token_names_its_recipient(returning: Returning) -> None:
    queue_id = await returning.sent("bob@example.net", "zoe@example.org")
    zoe = (await returning.rows(queue_id))[1].recipient_id
    original = f"List-Unsubscribe: <{returning.links.unsubscribe_url(zoe)}>\r\n\r\nHello".encode()

    await returning.complain(arf(original))

    noted = [row.complained_at for row in await returning.rows(queue_id)]
    assert noted == [None, NOW]


@pytest.mark.parametrize("feedback", ["not-spam", "other"])
async def test_other_feedback_changes_nothing(returning: Returning, feedback: str) -> None:
    queue_id = await returning.sent()
    row = await returning.row(queue_id)
    original = f"Return-Path: <{returning.reverse_paths.make(queue_id)}>\r\n\r\nHello".encode()

    taken = await returning.complain(arf(original, feedback=feedback))

    assert taken == Taken(kind=Kind.COMPLAINT)
    assert await returning.row(queue_id) == row
    assert await returning.suppressed() == []


async def test_forged_complaint_changes_nothing(returning: Returning) -> None:
    """Whatever it names: there is no MAC of ours in it."""
    queue_id = await returning.sent()
    row = await returning.row(queue_id)
    octets = arf(f"From: {ANN}\r\nTo: bob@example.net\r\n\r\n".encode(), named="bob@example.net")

    taken = [await returning.complain(octets) for _ in range(2)]

    assert {one.why for one in taken} == {Unrecognised.NOT_SIGNED}
    assert await returning.row(queue_id) == row
    assert await returning.suppressed() == []


async def test_suppression_lasts_as_the_section_says(world: World) -> None:
    returning = Returning(
        world=world, section=SuppressionSection(bounce_days=30, complaint_days=None)
    )
    queue_id = await returning.sent()
    await returning.take(queue_id, dsn(GONE))

    (row,) = await world.suppressions.list(scope=None, after=None, limit=10)
    assert row.expires_at == NOW + dt.timedelta(days=30)

    original = f"Return-Path: <{returning.reverse_paths.make(queue_id)}>\r\n\r\nHello".encode()
    await returning.complain(arf(original))
    (row,) = await world.suppressions.list(scope=None, after=None, limit=10)
    assert (row.reason, row.expires_at) == ("complaint", None)
    told = [one for one in await returning.told(queue_id) if one.type == "suppression.added"]
    assert [one.data["reason"] for one in told] == ["hard_bounce", "complaint"]
    assert returning.counted("bounce_suppressions_total") == 2


async def test_words_of_an_operator_stay(returning: Returning) -> None:
    """Who is on the list already was seen again, and is not told of twice."""
    world = returning.world
    first, second = await returning.sent(), await returning.sent()
    scope = (await returning.told(first))[0].mailbox_id or ""
    await world.suppressions.add("bob@example.net", scope=scope, reason="asked", source="cli")
    world.clock.advance(seconds=60)

    for queue_id in (first, second):
        await returning.take(queue_id, dsn(GONE))

    (row,) = await world.suppressions.list(scope=None, after=None, limit=10)
    assert (row.reason, row.source, row.first_seen_at) == ("asked", "cli", NOW)
    assert row.last_seen_at == world.clock.now()
    assert returning.counted("bounce_suppressions_total") == 0


async def test_suppressed_address_is_refused_next_time(returning: Returning) -> None:
    """What a report has taught holds for the next submission of this mailbox, and of no other."""
    await returning.take(await returning.sent(), dsn(GONE))

    with pytest.raises(Refused) as refused:
        await returning.queued()

    assert refused.value.code == "recipient_suppressed"
    other = await returning.world.principal("kim@example.com")
    assert not await returning.world.suppressions.test("bob@example.net", scope=other.mailbox_id)
