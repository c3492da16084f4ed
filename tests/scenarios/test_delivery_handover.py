"""The dispatcher and what acceptances claim for it: what it offers, starts and gives back."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd.config.delivery import NextHop
from gatewayd.errors import StoreBroken, StoreError, StoreUnavailable
from gatewayd.ids import MailboxId
from gatewayd.queue.claim import Claim
from gatewayd.queue.handover import Room
from tests.fakes.delivering import Delivering, Dispatching
from tests.fakes.delivery import FakeNextHops, claim_of
from tests.fakes.smtp_peer import SILENT, SmtpPeer


def _room(one: Dispatching, claim: Claim) -> Room:
    """What an acceptance finds for the lane of a claim."""
    return one.handover._rooms.get(claim.mailbox_id, Room())


async def test_what_is_handed_over_is_delivered_without_a_claim() -> None:
    async with SmtpPeer() as peer, Delivering() as world:
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as one:
            one.handover.hand_over([claim_of(), claim_of()], has_queued=False)
            await world.queue.until_settled(2)

        assert len(peer.mails) == 2
        assert world.queue.journal.count("claim") == 0


async def test_room_is_offered_while_nothing_that_is_due_waits() -> None:
    """Nothing for a lane that was never seen; what a window and two more leave for one that was."""
    settings = {"concurrency_start": 2, "concurrency_max": 4}
    first, second = claim_of(), claim_of()
    async with (
        SmtpPeer(answers={"MAIL": [b"250 ok\r\n", SILENT]}) as peer,
        Delivering(settings) as world,
        Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as one,
    ):
        assert _room(one, first).claims == 0
        world.queue.put(first)
        await world.queue.until_settled(1)
        one.handover.hand_over([second], has_queued=False)
        await peer.silent.wait()

        # The window is 3 by now, and one claim runs.
        assert (_room(one, first).claims, _room(one, first).recipients) == (3 * 3 - 1, 2000 - 2)


async def test_no_room_is_offered_before_what_waits_longer() -> None:
    """More is due than the next hop has room for: what comes now goes behind it."""
    settings = {"concurrency_start": 2, "concurrency_max": 2}
    claims = [claim_of() for _ in range(20)]
    async with (
        SmtpPeer(answers={"MAIL": [SILENT] * 10}) as peer,
        Delivering(settings) as world,
        Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as one,
    ):
        world.queue.put(*claims)
        await peer.silent.wait()

        assert world.queue.due[claims[0].mailbox_id]
        assert _room(one, claims[0]).claims == 0


async def test_recipients_in_memory_are_bounded() -> None:
    """Each that is held counts, whoever claimed it; and who holds as many as are free gets none."""
    held = claim_of(*(f"r{number}@x.test" for number in range(30)))
    async with (
        SmtpPeer(answers={"MAIL": [SILENT] * 10}) as peer,
        Delivering({"ready_recipients": 100}) as world,
        Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as one,
    ):
        one.handover.hand_over([held], has_queued=False)
        await peer.silent.wait()

        assert _room(one, held).recipients == 100 - 30 - 30


async def test_what_comes_while_it_stops_is_given_back() -> None:
    """Also when it comes as late as the last commit."""
    late, later = claim_of(), claim_of()
    async with SmtpPeer() as peer, Delivering() as world:
        async with Dispatching(world, FakeNextHops(smarthost=peer.next_hop())) as one:
            async with asyncio.TaskGroup() as group:
                group.create_task(one.dispatcher.drain(0.0))
                await asyncio.sleep(0)
                one.handover.hand_over([late], has_queued=False)
                world.queue.on_flush = lambda: one.handover.hand_over([later], has_queued=False)
            assert _room(one, late).claims == 0

        released = [claim.attempt_id for claim in world.queue.released]
        assert sorted(released) == sorted([late.attempt_id, later.attempt_id])
        assert peer.mails == []


async def test_a_claim_whose_way_cannot_be_found_is_given_back() -> None:
    """The store is busy when its next hop is looked up: it is due again, and does not wait."""

    class Away(FakeNextHops):
        async def next_hop(self, mailbox_id: MailboxId) -> None:  # noqa: ARG002 - as the port has it
            raise StoreUnavailable("busy")

    claim = claim_of()
    async with Delivering() as world, Dispatching(world, Away()) as one:
        one.handover.hand_over([claim], has_queued=False)
        await world.queue.until(lambda: bool(world.queue.released))

        assert world.queue.released == [claim]


async def test_what_comes_when_the_breaker_has_opened_is_given_back() -> None:
    """Its set was on its way: it waits in the queue for the probe, not here for ever."""
    async with SmtpPeer() as gone:
        hop = gone.next_hop()
    late = claim_of()
    async with Delivering() as world, Dispatching(world, FakeNextHops(smarthost=hop)) as one:
        one.handover.hand_over([claim_of() for _ in range(3)], has_queued=False)
        await world.queue.until_settled(3)
        assert one.dispatcher._destinations[hop].window.is_paused
        one.handover.hand_over([late], has_queued=False)
        await world.queue.until(lambda: late in world.queue.released)

        assert one.dispatcher._destinations[hop].recipients == 0


async def test_what_looks_for_its_way_while_it_stops_is_given_back() -> None:
    """The next hop is read from the store, and that takes until after the drain."""

    class Slow(FakeNextHops):
        asked, told = asyncio.Event(), asyncio.Event()

        async def next_hop(self, mailbox_id: MailboxId) -> NextHop | None:
            self.asked.set()
            await self.told.wait()
            return await super().next_hop(mailbox_id)

    claim, hops = claim_of(), Slow()
    async with SmtpPeer() as peer, Delivering() as world:
        hops.smarthost = peer.next_hop()
        async with Dispatching(world, hops) as one:
            one.handover.hand_over([claim], has_queued=False)
            await hops.asked.wait()
            await one.dispatcher.drain(0.0)
            hops.told.set()

        assert world.queue.released == [claim]
        assert peer.mails == []


@pytest.mark.parametrize(
    "fault", [StoreUnavailable("busy"), StoreBroken("gone", exit_code=74)], ids=["busy", "broken"]
)
async def test_a_store_that_fails_does_not_keep_the_others_from_stopping(fault: StoreError) -> None:
    """Services are drained together: what one raises ends the drain of all."""
    async with Delivering() as world, Dispatching(world, FakeNextHops()):
        world.queue.faults["flush"] = [fault]

    assert world.queue.released == []
    assert world.queue.faults["flush"] == []
