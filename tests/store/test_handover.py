"""queue.handover: what delivery has room for is claimed by the acceptance, and only that."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Sequence

import pytest

from gatewayd.errors import Refused, StoreConflict
from gatewayd.ids import MailboxId
from gatewayd.mail.outcome import Delivered
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.mailboxes.accounts import Change
from gatewayd.policy.submission import Accepted, Options
from gatewayd.queue.claim import Claim
from gatewayd.queue.enqueue import SANDBOX_LANE
from gatewayd.queue.handover import Room
from gatewayd.queue.outcome import AttemptRecord
from gatewayd.queue.states import State
from gatewayd.store.database import Tx
from tests.fakes.clock import NOW
from tests.fakes.world import ANN, MESSAGE, World, submission
from tests.fakes.writing import Gate, together

RECORD = AttemptRecord(
    next_hop="h:25", phase="dot", tls="", transcript="C: MAIL", started_at=NOW, ended_at=NOW
)
TAKEN = Delivered(Reply(250, EnhancedStatus(2, 0, 0), "ok"))


class Receiving:
    """Delivery, as far as it offers room and is handed claims."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.claims: list[Claim] = []
        self.room = Room()
        world.handover.open(self._take)

    def _take(self, claims: Sequence[Claim]) -> None:
        self.claims.extend(claims)

    def offer(self, *lanes: MailboxId, claims: int, recipients: int = 1000) -> None:
        for lane in lanes:
            self.world.handover.lead(lane, self.room)
        self.world.handover.offer(self.room, claims=claims, recipients=recipients)


async def _woken(world: World) -> bool:
    return await world.queued.wait(0)


async def test_claimed_at_once_is_what_a_claim_would_be(world: World) -> None:
    """Every field but the ids, which are new, and who is asked for it gets nothing more."""
    principal = await world.principal()
    delivery = Receiving(world)
    to = ("bob@example.net", "zoe@example.org")
    await world.intake.accept(submission(principal, *to))
    (later,) = await world.queue.claim({principal.mailbox_id: 10})
    delivery.offer(principal.mailbox_id, claims=5)
    await _woken(world)

    accepted = await world.intake.accept(submission(principal, *to))

    (claim,) = delivery.claims
    assert claim.queue_id == accepted.queue_id
    assert [one.recipient_id for one in claim.recipients] == [
        one.recipient_id for one in accepted.recipients
    ]
    alike = {
        field.name
        for field in dataclasses.fields(Claim)
        if field.name not in {"attempt_id", "queue_id", "recipients", "message"}
    }
    for name in alike:
        assert getattr(claim, name) == getattr(later, name), name
    for ours, theirs in zip(claim.recipients, later.recipients, strict=True):
        assert dataclasses.replace(ours, recipient_id=theirs.recipient_id) == theirs
    assert claim.message.body == later.message.body
    assert await world.queue.claim({principal.mailbox_id: 10}) == []
    assert not await _woken(world)


async def test_claimed_at_once_is_kept_like_any_claim(world: World) -> None:
    """Marker and outcome find their attempt; another is taken back like one of a dead worker."""
    principal = await world.principal()
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=5)
    done = await world.intake.accept(submission(principal))
    left = await world.intake.accept(submission(principal))
    first, _ = delivery.claims

    await world.queue.mark(first)
    await world.queue.settle(first, {first.recipients[0].recipient_id: TAKEN}, RECORD)

    view = await world.inspector.message(done.queue_id, None)
    assert [(one.state, one.attempts) for one in view.recipients] == [(State.DELIVERED, 1)]
    assert await world.queue.recover(all_leases=True) == (1, 0)
    (again,) = await world.queue.claim({principal.mailbox_id: 10})
    assert (again.queue_id, again.recipients[0].attempts) == (left.queue_id, 1)


@pytest.mark.parametrize(
    ("claims", "recipients", "claimed"),
    [(0, 1000, 0), (1, 1000, 1), (3, 3, 1), (3, 4, 2)],
    ids=["none", "one", "recipients", "both"],
)
async def test_no_more_is_claimed_than_was_offered(
    world: World, claims: int, recipients: int, claimed: int
) -> None:
    """The rest is queued, and delivery is woken for it; two lanes share a room."""
    ann = await world.principal()
    bob = await world.principal("bob@example.com")
    delivery = Receiving(world)
    delivery.offer(ann.mailbox_id, bob.mailbox_id, claims=claims, recipients=recipients)

    for principal in (ann, bob):
        content = MESSAGE.replace(ANN.encode(), str(principal.mailbox).encode())
        await world.intake.accept(
            submission(principal, "x@example.net", "y@example.net", content=content)
        )

    assert len(delivery.claims) == claimed
    assert await _woken(world) is (claimed < 2)
    waiting = await world.queue.claim({ann.mailbox_id: 10, bob.mailbox_id: 10})
    assert len(waiting) == 2 - claimed


async def test_mail_for_each_recipient_alone_is_claimed_whole_or_not(world: World) -> None:
    """A claim for each recipient, over one message in memory."""
    world.has_links = True
    world.apply_settings()
    principal = await world.principal()
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=4)
    to = [f"r{number}@example.net" for number in range(3)]

    await world.intake.accept(submission(principal, *to))
    await world.intake.accept(submission(principal, *to))

    assert [str(claim.recipients[0].forward_path) for claim in delivery.claims] == to
    assert all(claim.is_individual for claim in delivery.claims)
    assert len({id(claim.message) for claim in delivery.claims}) == 1
    assert len(await world.queue.claim({principal.mailbox_id: 10})) == 3


async def test_sandbox_mail_needs_room_of_its_own(world: World) -> None:
    """It waits in a lane of its own, whoever sent it."""
    principal = await world.principal(sandbox=True)
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=5)
    await world.intake.accept(submission(principal))
    assert delivery.claims == []
    delivery.offer(SANDBOX_LANE, claims=5)

    await world.intake.accept(submission(principal))

    assert [claim.sandbox for claim in delivery.claims] == [True]


async def test_what_a_mailbox_wants_of_mail_in_doubt_is_known(world: World) -> None:
    principal = await world.principal()
    await world.mailboxes.update(ANN, Change(on_in_doubt="hold"))
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=5)

    await world.intake.accept(submission(principal))

    assert [claim.hold_in_doubt for claim in delivery.claims] == [True]


async def test_after_closing_and_forgetting_all_is_queued(world: World) -> None:
    principal = await world.principal()
    delivery = Receiving(world)
    for end in (world.handover.close, lambda: world.handover.forget(delivery.room)):
        delivery.offer(principal.mailbox_id, claims=5)
        end()
        await world.intake.accept(submission(principal))

    assert delivery.claims == []
    assert len(await world.queue.claim({principal.mailbox_id: 10})) == 2


async def test_a_client_that_goes_away_leaves_its_claim_to_delivery(world: World) -> None:
    """Who is cancelled does not take the message back, so it must not wait for its lease either."""
    principal = await world.principal()
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=5)
    gate = Gate()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(world.database.write(gate.work))
        await gate.entered()
        client = tasks.create_task(world.intake.accept(submission(principal)))
        await asyncio.sleep(0)
        client.cancel()
        await asyncio.wait([client])
        gate.open()
    await world.queue.flush()

    assert len(delivery.claims) == 1


async def test_what_was_rolled_back_is_handed_to_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set that fails is decided again one by one: only what those made is handed over."""
    principal = await world.principal()
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=50)
    decide = world.intake._decide
    tried: list[int] = []

    def failing(tx: Tx, set_: Sequence[object]) -> object:
        answers = decide(tx, set_)  # type: ignore[arg-type]  # what it is given
        tried.append(len(set_))
        if len(tried) == 1:
            raise StoreConflict("once")
        return answers

    monkeypatch.setattr(world.intake._sets, "_work", failing)
    accepted = await world.intake.accept(submission(principal))

    assert tried == [1, 1]
    assert [claim.queue_id for claim in delivery.claims] == [accepted.queue_id]
    attempts = (await world.inspector.message(accepted.queue_id, None)).recipients
    assert [one.state for one in attempts] == [State.CLAIMED]


async def test_a_replay_and_a_refusal_wake_nobody(world: World) -> None:
    """Neither is new mail."""
    principal = await world.principal(allowed_recipient_domains=("example.net",))
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=5)
    keyed = submission(principal, options=Options(idempotency_key="k"))
    first = await world.intake.accept(keyed)

    again = await world.intake.accept(keyed)
    with pytest.raises(Refused):
        await world.intake.accept(submission(principal, "x@example.org"))

    assert (again.queue_id, again.replayed) == (first.queue_id, True)
    assert len(delivery.claims) == 1
    assert not await _woken(world)


async def test_the_same_submission_twice_in_one_set_is_handed_over_once(world: World) -> None:
    """Its repetitions are answered with the same message, which is delivered once."""
    principal = await world.principal()
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=5)
    keyed = submission(principal, options=Options(idempotency_key="k"))

    answers = await together(world.database, *[world.intake.accept(keyed) for _ in range(3)])

    assert [each.replayed for each in answers if isinstance(each, Accepted)] == [False, True, True]
    assert len(delivery.claims) == 1


async def test_the_lease_is_that_of_the_queue(world: World) -> None:
    principal = await world.principal()
    delivery = Receiving(world)
    delivery.offer(principal.mailbox_id, claims=1)

    await world.intake.accept(submission(principal))

    assert [claim.lease_until for claim in delivery.claims] == [NOW + dt.timedelta(minutes=20)]
