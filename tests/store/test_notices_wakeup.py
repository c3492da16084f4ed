"""queue.service, bounces.pipeline, delivery.notify: who owes a report says so, and nobody polls."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd import ids
from gatewayd.config.delivery import DeliverySection
from gatewayd.delivery.notify import Notifier
from gatewayd.events.wakeup import Wakeup
from gatewayd.ids import QueueId, RecipientId
from gatewayd.mail.outcome import Failed, InDoubt, Outcome
from gatewayd.mail.reply import Reply
from gatewayd.mail.status import EnhancedStatus
from gatewayd.queue.notices import TAKEN as AT_ONCE
from gatewayd.queue.notices import Notices
from gatewayd.store import notices
from gatewayd.store.database import Tx
from gatewayd.store.notices import NoticeRow
from tests.fakes.clock import NOW
from tests.fakes.delivery import FakeLog
from tests.fakes.returning import TAKEN, Returning, dsn, group
from tests.fakes.world import World

NEVER_S = 3600.0  # what is not woken does not come
WAIT_S = 60.0
REFUSED = Failed("no such user", Reply(550, EnhancedStatus.parse("5.1.1"), "no such user"))


async def is_nudged(wakeup: Wakeup) -> bool:
    """Whether it was notified; it is not any more after that."""
    return await wakeup.wait(0)


def outbox_of(world: World) -> Notices:
    return Notices(world.database, wakeup=world.wakeup)


def writes(world: World) -> list[int]:
    """The transactions of the writer from now on."""
    groups: list[int] = []
    world.database.observe_groups(lambda works, _: groups.append(works))
    return groups


async def test_look_where_nothing_is_owed_writes_nothing(world: World) -> None:
    """An idle daemon leaves its disk alone."""
    await world.sent()
    seen = writes(world)

    for _ in range(5):
        assert await outbox_of(world).due() == []
    assert seen == []


async def test_what_is_dropped_is_dropped_in_one_look(world: World) -> None:
    """More than one transaction takes; the next look may be an hour later."""
    forgotten = [
        NoticeRow(
            notice_id=ids.uuid7(NOW), queue_id=QueueId("gone"), recipient_id=RecipientId("r"),
            action="failed", data={}, created_at=NOW,
        )
        for _ in range(AT_ONCE + 10)
    ]  # fmt: skip

    def work(tx: Tx) -> None:
        notices.add(tx, forgotten)

    await world.database.write(work)

    assert await outbox_of(world).due() == []
    assert await world.database.read(notices.is_any) is False


@pytest.mark.parametrize(
    ("notify", "outcome", "is_owed"),
    [
        ("FAILURE", REFUSED, True),
        ("SUCCESS", TAKEN, True),
        ("FAILURE", TAKEN, False),
        ("", REFUSED, False),
        ("FAILURE", InDoubt("no reply"), False),
    ],
)
async def test_outcome_nudges_when_it_owes_a_report(
    world: World, notify: str, outcome: Outcome, *, is_owed: bool
) -> None:
    """After its commit: who is nudged finds the notice."""
    await Returning(world=world).sent(notify=notify, outcome=outcome)

    assert await is_nudged(world.queue.owed) is is_owed
    assert await world.database.read(notices.is_any) is is_owed


async def test_recovery_nudges_because_doubt_may_have_expired(world: World) -> None:
    returning = Returning(world=world)
    await returning.queued(notify="FAILURE")
    for claim in await returning.claim():
        await world.queue.mark(claim)
    assert not await is_nudged(world.queue.owed)

    assert await world.queue.recover(all_leases=True) == (0, 1)
    assert await is_nudged(world.queue.owed)


@pytest.mark.parametrize(("notify", "is_owed"), [("FAILURE", True), ("SUCCESS", False)])
async def test_report_nudges_when_it_owes_one(world: World, notify: str, *, is_owed: bool) -> None:
    """What came back is told to a submitter who asked for failures."""
    returning = Returning(world=world)
    queue_id = await returning.sent(notify=notify, offers_dsn=True)
    assert not await is_nudged(world.queue.owed)
    await returning.take(queue_id, dsn(group()))

    assert await is_nudged(world.queue.owed) is is_owed


async def test_notifier_is_woken_and_counts_what_it_told(world: World) -> None:
    """It would look by itself in an hour."""
    notifier = Notifier(
        notices=outbox_of(world),
        spool=world.spool,
        hostname="mail.example.com",
        section=DeliverySection(),
        wakeup=world.queue.owed,
        clock=world.clock,
        metrics=world.metrics,
        log=FakeLog(),
        poll_s=NEVER_S,
    )
    async with asyncio.TaskGroup() as group_:
        ready = asyncio.Event()
        group_.create_task(notifier.run(ready))
        await ready.wait()
        await Returning(world=world).sent(notify="FAILURE", outcome=REFUSED)
        is_told = await world.wakeup.wait(WAIT_S)
        await notifier.drain(0)

    assert is_told
    assert world.metrics.registry.get_sample_value("outbound_notices_total") == 1
    assert await world.database.read(notices.is_any) is False
