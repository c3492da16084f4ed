"""queue.outcome: what a refusal suppresses, and what a submitter is told, with the outcome."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re

import pytest
from sqlalchemy import event, update

from gatewayd.mail.outcome import Deferred, Failed, InDoubt, Outcome
from gatewayd.mail.reply import Reply
from gatewayd.queue.states import State
from gatewayd.store import notices, schema
from gatewayd.store.database import Tx
from tests.fakes.clock import NOW
from tests.fakes.returning import RECORD, TAKEN, Returning
from tests.fakes.world import World

LATER = Deferred("busy", Reply.parse([b"451 4.3.0 busy"]))
STATEMENT = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE)\b")
PAIR = ("bob@example.net", "zoe@example.org")


def gone(text: bytes = b"550 5.1.1 no such user") -> Failed:
    reply = Reply.parse([text])
    return Failed(reply.text, reply)


@pytest.fixture
def returning(world: World) -> Returning:
    return Returning(world=world)


async def test_refusal_of_a_dead_address_suppresses_it(returning: Returning) -> None:
    """In the transaction of the outcome, with its event and a count."""
    queue_id = await returning.sent(outcome=gone())

    assert await returning.suppressed() == [("bob@example.net", "hard_bounce", "smtp")]
    assert await returning.words(queue_id) == ["recipient.failed", "suppression.added"]
    told = (await returning.told(queue_id))[-1]
    assert (told.recipient_id, told.data["source"]) == (
        (await returning.row(queue_id)).recipient_id, "smtp",
    )  # fmt: skip
    assert returning.counted("bounce_suppressions_total") == 1


async def test_hostile_next_hop_suppresses_no_other_address(returning: Returning) -> None:
    """Whatever address its reply names, it is the recipient's own that is refused."""
    await returning.sent(outcome=gone(b"550 5.1.1 <zoe@example.org>: no such user"))

    assert [address for address, *_ in await returning.suppressed()] == ["bob@example.net"]


@pytest.mark.parametrize(
    "outcome",
    [gone(b"550 5.7.1 rejected by policy"), gone(b"552 5.2.2 mailbox full"), LATER, TAKEN],
    ids=["policy", "full", "deferred", "delivered"],
)
async def test_other_outcomes_suppress_nobody(returning: Returning, outcome: Outcome) -> None:
    await returning.sent(outcome=outcome)

    assert await returning.suppressed() == []


async def test_refusal_shared_by_several_suppresses_nobody(returning: Returning) -> None:
    """After the dot it does not say whom it means; at RCPT each has his own."""
    await returning.sent(*PAIR, outcome=gone())
    assert await returning.suppressed() == []

    await returning.queued(*PAIR)
    (claim,) = await returning.claim()
    each = {one.recipient_id: gone() for one in claim.recipients}
    await returning.world.queue.settle(claim, each, dataclasses.replace(RECORD, phase="rcpt"))

    assert [address for address, *_ in await returning.suppressed()] == list(PAIR)


async def test_refusal_of_mail_suppresses_nobody(returning: Returning) -> None:
    await returning.queued()
    (claim,) = await returning.claim()
    record = dataclasses.replace(RECORD, phase="mail")

    await returning.world.queue.settle(claim, {claim.recipients[0].recipient_id: gone()}, record)

    assert await returning.suppressed() == []


async def test_sandbox_refusal_suppresses_nobody(returning: Returning) -> None:
    """What the simulator says of an address must not keep real mail from it."""
    queue_id = await returning.sent(outcome=gone(), sandbox=True)

    assert (await returning.row(queue_id)).state == State.FAILED
    assert await returning.suppressed() == []


async def test_refusal_of_a_report_suppresses_nobody(returning: Returning) -> None:
    """It goes to the mailbox's own address, or the operator's: nobody wrote to it there."""
    queue_id = await returning.queued()
    await make_null(returning)
    (claim,) = await returning.claim()

    await returning.settle(claim, gone())

    assert (await returning.row(queue_id)).state == State.FAILED
    assert await returning.suppressed() == []


async def make_null(returning: Returning) -> None:
    """Make what is in the queue mail from the null reverse-path."""

    def work(tx: Tx) -> None:
        tx.execute(update(schema.messages).values(reverse_path=""))

    await returning.world.database.write(work)


@pytest.mark.parametrize(
    ("outcome", "notify", "told"),
    [
        (gone(), "FAILURE", ["failed"]),
        (gone(), "SUCCESS,DELAY", []),
        (gone(), "NEVER", []),
        (gone(), "", []),
        (TAKEN, "SUCCESS", ["relayed"]),
        (TAKEN, "FAILURE,DELAY", []),
        (LATER, "SUCCESS,FAILURE,DELAY", []),
        (InDoubt("timeout"), "SUCCESS,FAILURE,DELAY", []),
    ],
)
async def test_submitter_is_told_what_it_asked_for(
    returning: Returning, outcome: Outcome, notify: str, told: list[str]
) -> None:
    """A notice stands in the outbox with the outcome (RFC 3461 4.1)."""
    await returning.sent(outcome=outcome, notify=notify)

    assert [action for _, action in await returning.notices()] == told


async def test_notice_holds_what_the_event_says(returning: Returning) -> None:
    queue_id = await returning.sent(outcome=gone(), notify="FAILURE")

    (notice,) = await returning.world.database.write(lambda tx: notices.take(tx, 10))

    assert notice.data == (await returning.told(queue_id))[1].data
    assert (notice.queue_id, notice.created_at) == (queue_id, NOW)


async def test_success_is_left_to_a_next_hop_with_dsn(returning: Returning) -> None:
    """It reports itself, to the VERP address."""
    await returning.sent(notify="SUCCESS", offers_dsn=True)

    assert await returning.notices() == []


async def test_delay_is_told_once_and_late(returning: Returning) -> None:
    """At the first deferral after `delivery.delay_notice_s`, four hours by default."""
    queue_id = await returning.sent(outcome=LATER, notify="DELAY")
    assert await returning.notices() == []

    for _ in range(2):
        returning.world.clock.advance(hours=5)
        (claim,) = await returning.claim()
        await returning.settle(claim, LATER)

    assert [action for _, action in await returning.notices()] == ["delayed"]
    row = await returning.row(queue_id)
    assert (row.state, row.delayed_at) == (State.QUEUED, NOW + dt.timedelta(hours=5))


async def test_expiry_is_told_as_failure(returning: Returning) -> None:
    await returning.sent(outcome=LATER, notify="FAILURE")
    returning.world.clock.advance(days=6)
    (claim,) = await returning.claim()

    await returning.settle(claim, LATER)

    assert [action for _, action in await returning.notices()] == ["failed"]


async def test_expiry_after_a_crash_is_told_too(returning: Returning) -> None:
    """In doubt, and no try is left."""
    await returning.queued(notify="FAILURE")
    returning.world.clock.advance(days=6)
    (claim,) = await returning.claim()
    await returning.world.queue.mark(claim)

    await returning.world.queue.recover(all_leases=True)

    assert [action for _, action in await returning.notices()] == ["failed"]


async def test_nobody_is_told_of_a_null_reverse_path(returning: Returning) -> None:
    """Never in answer to a report, our own among them (RFC 5321 4.5.5)."""
    await returning.queued(notify="FAILURE")
    await make_null(returning)
    (claim,) = await returning.claim()

    await returning.settle(claim, gone())

    assert await returning.notices() == []


async def test_delivery_costs_no_statement_more(returning: Returning) -> None:
    """Look, change, end, tell: one of each for a set, and none for what is not there."""
    await returning.queued(*PAIR)
    (claim,) = await returning.claim()
    seen: list[str] = []
    engine = returning.world.database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: seen.append(str(given[2])))

    await returning.settle(claim, TAKEN)

    kinds = [found[0] for line in seen if (found := STATEMENT.search(line))]
    alone = returning.world.database.dialect.has_single_node
    locks = [] if alone else ["SELECT"]  # the attempt, before its recipients
    assert kinds == [*locks, "SELECT", "UPDATE", "UPDATE", "INSERT"]
