"""queue.withheld: mail that waits for an address does not go there once it is suppressed."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import event, update

from gatewayd.errors import Code, Refused
from gatewayd.ids import MailboxId, QueueId
from gatewayd.mail.outcome import Deferred
from gatewayd.queue.claim import Claim, take
from gatewayd.queue.inspect import Moved
from gatewayd.queue.states import State
from gatewayd.store import events, notices, recipients, schema, suppressions
from gatewayd.store.database import Database
from gatewayd.store.events import EventRow
from gatewayd.store.recipients import RecipientRow
from gatewayd.store.suppressions import ALL
from tests.fakes import rows
from tests.fakes.clock import NOW
from tests.fakes.returning import Returning
from tests.fakes.world import ANN, World

BOB, ZOE = "bob@example.net", "zoe@example.org"
HOUR = dt.timedelta(hours=1)
WHY = "recipient_suppressed: suppressed after the message was accepted"


async def leave(world: World, address: str, scope: str | None = None, **changed: object) -> None:
    """Put an address on the list, of Ann's mailbox by default."""
    owner = (await world.principal()).mailbox_id
    await world.suppressions.add(
        address, scope=scope or owner, reason="unsubscribed", source="page", **changed  # type: ignore[arg-type]  # any argument of it
    )  # fmt: skip


async def claimed(world: World) -> list[Claim]:
    return await world.queue.claim(dict.fromkeys(await world.queue.lanes(), 50))


def to(found: list[Claim]) -> list[list[str]]:
    return [[str(one.forward_path) for one in each.recipients] for each in found]


async def row(world: World, queue_id: QueueId) -> RecipientRow:
    found = await world.database.read(lambda tx: recipients.of_messages(tx, [queue_id]))
    return found[queue_id][0]


async def told(world: World, queue_id: QueueId) -> list[EventRow]:
    return await world.database.read(lambda tx: events.of_message(tx, queue_id))


async def test_queued_mail_does_not_go_where_it_is_not_wanted_any_more(world: World) -> None:
    """It fails as at acceptance, with its event and its count, and was never tried."""
    queue_id = await world.sent(BOB)
    await leave(world, BOB)

    assert await claimed(world) == []

    one = await row(world, queue_id)
    assert (one.state, one.attempts, one.due_at) == (State.FAILED, 0, None)
    assert (one.reply_code, one.reply_status, one.reason) == (None, "5.7.1", WHY)
    last = (await told(world, queue_id))[-1]
    assert (last.type, last.recipient_id) == ("recipient.failed", one.recipient_id)
    assert last.data == {"reason": WHY, "status": "5.7.1"}
    assert last.mailbox_id == (await world.principal()).mailbox_id
    failed = world.metrics.registry.get_sample_value(
        "outbound_messages_failed_total", {"reason": "policy"}
    )
    assert failed == 1
    assert await world.queue.lanes() == {}
    (line,) = (await world.inspector.explain(queue_id, None)).lines
    assert line.startswith(f"{BOB} was not tried (5.7.1 {WHY}); ")


@pytest.mark.parametrize("has_links", [False, True], ids=["together", "alone"])
async def test_others_of_the_message_go_on(world: World, has_links: bool) -> None:
    """Also where each is made for himself."""
    world.has_links = has_links
    world.apply_settings()
    await world.sent("a@example.net", BOB, "c@example.net")
    await leave(world, BOB)

    found = await claimed(world)

    alone = [["a@example.net"], ["c@example.net"]]
    assert to(found) == (alone if has_links else [["a@example.net", "c@example.net"]])


async def test_only_what_holds_now_and_for_this_mailbox_counts(world: World) -> None:
    """Or for all of them; and whatever the spelling of the domain."""
    await world.sent(*(f"{name}@example.net" for name in "abcd"))
    await leave(world, "a@EXAMPLE.net", ALL)
    await leave(world, "b@example.net", "another mailbox")
    await leave(world, "c@example.net", expires_at=NOW + HOUR)
    await leave(world, "D@example.net")
    world.clock.advance(hours=1)

    assert to(await claimed(world)) == [["b@example.net", "c@example.net", "d@example.net"]]


async def test_what_was_deferred_is_not_tried_again(world: World) -> None:
    """Its tries stay counted."""
    queue_id = await world.sent(BOB)
    (one,) = await claimed(world)
    returning = Returning(world=world)
    await returning.settle(one, Deferred("later"))
    await leave(world, BOB)
    world.clock.advance(hours=1)

    assert await claimed(world) == []
    found = await row(world, queue_id)
    assert (found.state, found.attempts, found.reason) == (State.FAILED, 1, WHY)


async def test_sandbox_mail_is_withheld_as_it_is_refused(world: World) -> None:
    """A sandbox token passes the whole policy, the list too."""
    returning = Returning(world=world)
    queue_id = await returning.queued(BOB, sandbox=True)
    await leave(world, BOB)

    assert await claimed(world) == []
    assert (await row(world, queue_id)).state == State.FAILED


async def test_report_to_the_submitter_goes_on(database: Database) -> None:
    """Mail of ours is from the null reverse-path, and its address is the mailbox's own."""
    for door in ("dsn", "postmaster"):
        await rows.keep_message(database, door, reverse_path="", door=door)
    listed = rows.suppression("m1", "r0@example.net", reason="hard_bounce")
    await database.write(lambda tx: suppressions.put(tx, listed))

    found = await database.write(lambda tx: take(tx, {MailboxId("m1"): 9}, lease=HOUR).claims)

    assert sorted(one.queue_id for one in found) == ["dsn", "postmaster"]


@pytest.mark.parametrize(("notify", "count"), [("FAILURE", 1), ("SUCCESS,DELAY", 0), ("", 0)])
async def test_submitter_is_told_if_it_asked(world: World, notify: str, count: int) -> None:
    """And the notifier is woken for it (RFC 3461 4.1)."""
    returning = Returning(world=world)
    queue_id = await returning.queued(BOB, notify=notify)
    await leave(world, BOB)

    await claimed(world)

    found = await world.database.write(lambda tx: notices.take(tx, 10))
    assert [(one.queue_id, one.action, one.data) for one in found] == [
        (queue_id, "failed", {"reason": WHY, "status": "5.7.1"})
    ] * count
    assert await world.queue.owed.wait(0) is (count > 0)


async def test_what_waits_behind_the_withheld_is_looked_for_at_once(world: World) -> None:
    """Fewer were claimed than there is room for, and more may be due."""
    await world.sent(BOB)
    last = await world.sent(ZOE)
    await leave(world, BOB)
    lane = next(iter(await world.queue.lanes()))
    await world.wakeup.wait(0)

    assert await world.queue.claim({lane: 1}) == []
    assert await world.wakeup.wait(0) is True
    assert [one.queue_id for one in await world.queue.claim({lane: 1})] == [last]


async def test_list_is_asked_once_for_a_claim_and_never_for_none(world: World) -> None:
    seen: list[str] = []
    event.listen(
        world.database.engine, "before_cursor_execute",
        lambda *given: seen.append(given[2]) if "suppressions" in given[2] else None,
    )  # fmt: skip
    await world.sent(*(f"r{number}@example.net" for number in range(100)))
    for number in range(20):
        await world.sent(f"s{number}@example.net")
    seen.clear()

    assert sum(map(len, to(await claimed(world)))) == 120
    assert len(seen) == 1
    seen.clear()
    assert await world.queue.claim({MailboxId("none"): 50}) == []
    assert seen == []


async def test_withheld_are_settled_by_one_statement_of_each_kind(world: World) -> None:
    """A list that was imported may hold for all that waits."""
    await world.sent(*(f"r{number}@example.net" for number in range(30)))
    for number in range(30):
        await leave(world, f"r{number}@example.net", ALL)
    lane = next(iter(await world.queue.lanes()))
    seen: list[str] = []
    event.listen(
        world.database.engine, "before_cursor_execute", lambda *given: seen.append(given[2])
    )

    assert await world.queue.claim({lane: 50}) == []

    changed = [line for line in seen if line.startswith(("UPDATE", "WITH", "INSERT"))]
    # PostgreSQL gets a batch; SQLite lists of 16, 8, 4 and 2 rows.
    assert len(changed) in {2, 8}


# --- what an operator retries


async def test_suppressed_recipient_is_not_retried(world: World) -> None:
    """It is said why, and what lets mail go there; after that it is sent."""
    queue_id = await world.sent(BOB)
    await leave(world, BOB)
    await claimed(world)

    with pytest.raises(Refused) as caught:
        await world.inspector.retry(queue_id, by="op")

    assert caught.value.kind is Code.RECIPIENT_SUPPRESSED
    assert caught.value.public == (
        f"{BOB} is suppressed (unsubscribed); to let mail go there: "
        f"gatewayd suppressions remove {BOB} --mailbox MAILBOX"
    )
    assert (await row(world, queue_id)).state == State.FAILED
    await world.suppressions.remove(BOB, scope=(await world.principal()).mailbox_id)
    assert await world.inspector.retry(queue_id, by="op") == Moved(moved=1, left=())
    assert to(await claimed(world)) == [[BOB]]


async def test_retry_moves_the_others(world: World) -> None:
    queue_id = await world.sent(BOB, ZOE)
    await leave(world, BOB, ALL)

    moved = await world.inspector.retry(queue_id, by="op")

    assert moved.moved == 1
    (why,) = moved.left
    assert why.endswith(f"to let mail go there: gatewayd suppressions remove {BOB} --all")


async def test_other_verbs_ask_no_list(world: World) -> None:
    """Whoever is suppressed can be held, cancelled and, at the claim, given up."""
    queue_id = await world.sent(BOB)
    await leave(world, BOB)

    for verb in (world.inspector.hold, world.inspector.release, world.inspector.cancel):
        assert await verb(queue_id, by="op") == Moved(moved=1, left=())


async def test_report_is_retried_whoever_is_on_the_list(world: World) -> None:
    """What is not judged at the claim is not judged here."""
    queue_id = await world.sent(ANN)
    await leave(world, ANN)

    await world.database.write(
        lambda tx: tx.execute(update(schema.messages).values(reverse_path=""))
    )

    assert await world.inspector.retry(queue_id, by="op") == Moved(moved=1, left=())
