"""queue.service: claims, markers and outcomes are durable, and only the owner's count."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping

import pytest

from gatewayd.errors import LeaseLost
from gatewayd.ids import MailboxId, QueueId, RecipientId
from gatewayd.mail.outcome import Deferred, Delivered, Failed, InDoubt, Outcome, Released
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.mailboxes.accounts import Change
from gatewayd.queue import outcome
from gatewayd.queue.claim import Claim
from gatewayd.queue.enqueue import SANDBOX_LANE
from gatewayd.queue.inspect import MessageView
from gatewayd.queue.outcome import RECOVERED, AttemptRecord
from gatewayd.queue.states import State
from gatewayd.store import events
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, MESSAGE, World, submission

TAKEN = Delivered(Reply(250, EnhancedStatus(2, 0, 0), "ok"))
LEASE = dt.timedelta(seconds=1200)
RECORD = AttemptRecord(
    next_hop="h:25", phase="dot", tls="TLSv1.3", transcript="C: MAIL", started_at=NOW, ended_at=NOW
)


async def _claim(world: World, count: int = 10) -> list[Claim]:
    return await world.queue.claim(dict.fromkeys(await world.queue.lanes(), count))


async def _settle(world: World, claim: Claim, each: Outcome) -> None:
    await world.queue.settle(claim, {r.recipient_id: each for r in claim.recipients}, RECORD)


async def _view(world: World, queue_id: QueueId) -> MessageView:
    return await world.inspector.message(queue_id, None)


async def _states(world: World, queue_id: QueueId) -> list[State]:
    return [one.state for one in (await _view(world, queue_id)).recipients]


async def _told(world: World, queue_id: QueueId) -> list[str]:
    found = await world.database.read(lambda tx: events.of_message(tx, queue_id))
    return [event.type for event in found]


async def test_claim_holds_what_delivery_needs(world: World) -> None:
    """One message with its due recipients; the envelope, the octets, the lease."""
    queue_id = await world.sent("bob@example.net", "zoe@example.org")

    (claim,) = await _claim(world)

    assert (claim.queue_id, claim.mailbox, claim.lease_until) == (queue_id, ANN, NOW + LEASE)
    assert [str(one.forward_path) for one in claim.recipients] == [
        "bob@example.net",
        "zoe@example.org",
    ]
    assert [one.attempts for one in claim.recipients] == [1, 1]
    assert claim.message.body == b"Hello.\r\n"
    assert claim.message.header.octets.endswith(MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert await _claim(world) == []
    assert await _states(world, queue_id) == [State.CLAIMED] * 2


async def test_individual_message_is_claimed_recipient_by_recipient(world: World) -> None:
    """Each attempt is of its own, and the octets are in memory once; the count is of pieces."""
    world.has_links = True
    world.apply_settings()
    queue_id = await world.sent("a@example.net", "b@example.net", "c@example.net")

    first = await _claim(world, 2)
    rest = await _claim(world)

    assert [str(one.recipients[0].forward_path) for one in (*first, *rest)] == [
        "a@example.net", "b@example.net", "c@example.net",
    ]  # fmt: skip
    assert {one.queue_id for one in (*first, *rest)} == {queue_id}
    assert all(one.is_individual and one.unsubscribe for one in first)
    assert first[0].message is first[1].message
    assert len({one.attempt_id for one in (*first, *rest)}) == 3


async def test_claim_takes_so_many_messages_of_each_lane(world: World) -> None:
    """No mailbox waits behind another; sandbox mail has a lane of its own."""
    bob, box = await world.principal("bob@example.com"), await world.principal(ANN, sandbox=True)
    for _ in range(3):
        await world.sent()
        await world.intake.accept(
            submission(
                bob, content=MESSAGE.replace(b"ann@example.com\r\nTo", b"bob@example.com\r\nTo")
            )
        )
        await world.intake.accept(submission(box))
    lanes = await world.queue.lanes()

    claimed = await world.queue.claim(dict.fromkeys(lanes, 2) | {MailboxId("none"): 5})

    assert len(lanes) == 3
    assert sorted((one.mailbox, one.sandbox) for one in claimed) == [
        (ANN, False), (ANN, False), (ANN, True), (ANN, True),
        ("bob@example.com", False), ("bob@example.com", False),
    ]  # fmt: skip
    assert SANDBOX_LANE in await world.queue.lanes()


async def test_message_with_a_hundred_recipients_is_claimed_whole(world: World) -> None:
    """Also where another waits before it: one transaction for all of them."""
    await world.sent("first@example.net")
    await world.sent(*(f"r{n}@example.net" for n in range(100)))
    await world.sent("last@example.net")

    first = await _claim(world, 1)
    rest = await _claim(world, 5)

    assert [len(one.recipients) for one in first] == [1]
    assert [len(one.recipients) for one in rest] == [100, 1]


async def test_deferred_recipients_of_one_attempt_are_due_together(world: World) -> None:
    """Otherwise the jitter would make a transaction for each of them out of one."""
    await world.sent(*(f"r{n}@example.net" for n in range(20)))
    (claim,) = await _claim(world)
    await _settle(world, claim, Deferred("later"))
    world.clock.advance(minutes=6)

    (again,) = await _claim(world)

    assert [one.attempts for one in again.recipients] == [2] * 20


async def test_recovered_recipients_of_one_attempt_are_due_together(world: World) -> None:
    await world.sent(*(f"r{n}@example.net" for n in range(20)))
    (claim,) = await _claim(world)
    await world.queue.mark(claim)
    await world.queue.recover(all_leases=True)
    world.clock.advance(minutes=6)
    assert await world.queue.requeue_in_doubt() == 20

    (again,) = await _claim(world)

    assert len(again.recipients) == 20


async def test_settle_keeps_each_outcome_and_its_event(world: World) -> None:
    queue_id = await world.sent(*(f"r{n}@example.net" for n in range(5)))
    (claim,) = await _claim(world)
    said = Reply(450, EnhancedStatus(4, 2, 0), "busy")
    outcomes: list[Outcome] = [
        TAKEN, Failed("no such user", Reply(550, EnhancedStatus(5, 1, 1), "no such user")),
        Deferred("busy", said), InDoubt("timeout"), Released("too many recipients"),
    ]  # fmt: skip
    by_id: Mapping[RecipientId, Outcome] = {
        r.recipient_id: each for r, each in zip(claim.recipients, outcomes, strict=True)
    }
    await world.queue.settle(claim, by_id, RECORD)

    view = await _view(world, queue_id)
    assert [(one.state, one.attempts, one.last_reply) for one in view.recipients] == [
        (State.DELIVERED, 1, "250 2.0.0 ok"),
        (State.FAILED, 1, "550 5.1.1 no such user"),
        (State.QUEUED, 1, "450 4.2.0 busy"),
        (State.IN_DOUBT, 1, "timeout"),
        (State.QUEUED, 0, "too many recipients"),
    ]
    assert [one.delivered_at for one in view.recipients] == [NOW, None, None, None, None]
    (attempt,) = view.attempts
    assert (attempt.next_hop, attempt.transcript, attempt.ended_at) == ("h:25", "C: MAIL", NOW)
    assert await _told(world, queue_id) == [
        "message.accepted", "recipient.delivered", "recipient.failed", "recipient.deferred",
        "recipient.in_doubt", "suppression.added",
    ]  # fmt: skip


async def test_outcome_that_comes_late_changes_nothing(world: World) -> None:
    """The lease was lost, and the work given to another: neither state nor record nor event."""
    queue_id = await world.sent()
    (late,) = await _claim(world)
    world.clock.advance(seconds=1201)
    assert await world.queue.recover(all_leases=False) == (1, 0)
    (owner,) = await _claim(world)
    before, told = await _view(world, queue_id), await _told(world, queue_id)
    world.clock.advance(seconds=1)

    with pytest.raises(LeaseLost):
        await _settle(world, late, Failed("no such user"))

    assert await _view(world, queue_id) == before
    assert await _told(world, queue_id) == told
    await _settle(world, owner, TAKEN)
    assert await _states(world, queue_id) == [State.DELIVERED]


async def test_outcome_counts_once(world: World) -> None:
    """A worker that asks again after a lost answer is told that it is not its any more."""
    queue_id = await world.sent()
    (claim,) = await _claim(world)
    await _settle(world, claim, TAKEN)

    with pytest.raises(LeaseLost):
        await _settle(world, claim, Failed("no"))

    assert await _states(world, queue_id) == [State.DELIVERED]


async def test_mark_needs_a_lease_that_outlasts_the_wait_for_the_reply(world: World) -> None:
    """With too little left the dot must not be written: another worker could come in between."""
    await world.sent()
    (claim,) = await _claim(world)
    await world.queue.mark(claim)
    world.clock.advance(seconds=1199)

    with pytest.raises(LeaseLost):
        await world.queue.mark(claim)

    assert await world.queue.renew([claim]) == set()
    await world.queue.mark(claim)


async def test_mark_of_many_fails_only_those_whose_lease_is_lost(world: World) -> None:
    for _ in range(3):
        await world.sent()
    claims = await _claim(world)
    await world.queue.release(claims[:1])

    results = await asyncio.gather(
        *(world.queue.mark(one) for one in claims), return_exceptions=True
    )

    assert [type(one) for one in results] == [LeaseLost, type(None), type(None)]


async def test_renew_names_the_claims_that_are_lost(world: World) -> None:
    await world.sent()
    await world.sent()
    kept, lost = await _claim(world)
    await world.queue.release([lost])

    assert await world.queue.renew([kept, lost]) == {lost.attempt_id}
    assert await world.queue.renew([]) == set()


async def test_recover_without_marker_gives_the_work_back_untried(world: World) -> None:
    """At once and not counted: nothing was handed over."""
    queue_id = await world.sent("a@example.net", "b@example.net")
    await _claim(world)

    assert await world.queue.recover(all_leases=True) == (2, 0)

    (again,) = await _claim(world)
    assert [one.attempts for one in again.recipients] == [1, 1]
    assert await _told(world, queue_id) == ["message.accepted"]


async def test_recover_with_marker_is_in_doubt(world: World) -> None:
    """The final dot may have been sent: it counts, and waits by the schedule."""
    queue_id = await world.sent()
    (claim,) = await _claim(world)
    await world.queue.mark(claim)

    assert await world.queue.recover(all_leases=True) == (0, 1)

    (one,) = (await _view(world, queue_id)).recipients
    assert (one.state, one.attempts, one.last_reply) == (State.IN_DOUBT, 1, RECOVERED)
    assert await _told(world, queue_id) == ["message.accepted", "recipient.in_doubt"]
    assert await world.queue.requeue_in_doubt() == 0
    world.clock.advance(minutes=6)
    assert await world.queue.requeue_in_doubt() == 1
    assert await _states(world, queue_id) == [State.QUEUED]


async def test_recover_takes_only_expired_leases_where_others_may_live(world: World) -> None:
    await world.sent()
    (claim,) = await _claim(world)
    world.clock.advance(seconds=600)
    await world.queue.renew([claim])
    world.clock.advance(seconds=1199)
    assert await world.queue.recover(all_leases=False) == (0, 0)
    world.clock.advance(seconds=2)
    assert await world.queue.recover(all_leases=False) == (1, 0)
    assert await world.queue.recover(all_leases=True) == (0, 0)


async def test_recover_leaves_what_is_worked_on_here_when_the_clock_was_set(world: World) -> None:
    """A clock that is a day ahead ends leases, not the attempts that hold them."""
    by_id = {await world.sent(): State.QUEUED, await world.sent(): State.CLAIMED}
    *_, ours = by_id
    claimed = await _claim(world)
    (held,) = [claim for claim in claimed if claim.queue_id == ours]
    await world.queue.mark(held)
    world.clock.advance(hours=24)

    assert await world.queue.recover(all_leases=False, held=[held]) == (1, 0)
    assert {each: (await _states(world, each))[0] for each in by_id} == by_id
    assert await world.queue.renew([held]) == set()


async def test_in_doubt_is_held_where_the_mailbox_says_so(world: World) -> None:
    """It is never sent again by itself, whoever found it in doubt."""
    await world.principal()
    await world.mailboxes.update(ANN, Change(on_in_doubt="hold"))
    by_outcome, by_recovery = await world.sent(), await world.sent()
    first, second = await _claim(world)
    assert first.hold_in_doubt
    await _settle(world, first, InDoubt("timeout"))
    await world.queue.mark(second)
    await world.queue.recover(all_leases=True)
    world.clock.advance(days=30)

    assert await world.queue.requeue_in_doubt() == 0
    for queue_id in (by_outcome, by_recovery):
        assert await _states(world, queue_id) == [State.IN_DOUBT]


async def test_tries_in_doubt_and_deferred_are_counted_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten of both, and the last one is told as what it was and as the end."""
    monkeypatch.setattr(outcome, "_chance", lambda: 0.0)  # so that ten fit into five days
    queue_id = await world.sent()
    for number in range(10):
        (claim,) = await _claim(world)
        await _settle(world, claim, InDoubt("timeout") if number % 2 else Deferred("later"))
        (one,) = (await _view(world, queue_id)).recipients
        if one.next_attempt_at is not None:
            world.clock.seconds = (one.next_attempt_at - NOW).total_seconds()
            await world.queue.requeue_in_doubt()

    (one,) = (await _view(world, queue_id)).recipients
    assert (one.state, one.attempts) == (State.EXPIRED, 10)
    assert (await _told(world, queue_id))[-2:] == ["recipient.in_doubt", "recipient.expired"]


async def test_depth_counts_what_is_queued(world: World) -> None:
    await world.sent("a@example.net", "b@example.net")
    assert await world.queue.depth() == (2, NOW)
    await _claim(world)
    assert await world.queue.depth() == (0, None)


async def test_settle_wakes_the_dispatcher_where_something_is_due_again(world: World) -> None:
    await world.sent()
    (claim,) = await _claim(world)
    await _settle(world, claim, Released("untried"))

    assert await world.wakeup.wait(0) is True
    assert await world.wakeup.wait(0) is False
