"""The marker before the dot, the outcome after it, and what happens when either fails."""

from __future__ import annotations

import asyncio

import pytest

from gatewayd import failpoints
from gatewayd.delivery.attempt import Running
from gatewayd.errors import StoreBroken, StoreUnavailable
from gatewayd.mail.outcome import Deferred, Delivered, InDoubt
from tests.fakes.delivering import Delivering
from tests.fakes.delivery import FakeQueue, claim_of, spooled
from tests.fakes.smtp_peer import SILENT, SmtpPeer


async def test_marker_is_durable_before_the_dot() -> None:
    """The order of X1: marker, dot, outcome; before the dot the peer has all but that."""
    journal: list[str] = []
    async with (
        SmtpPeer(journal=journal) as peer,
        Delivering(queue=FakeQueue(journal)) as world,
    ):
        for _ in range(3):
            await world.deliver(claim_of(), peer.next_hop())

        assert journal == ["mark", "dot", "settle"] * 3


async def test_lost_lease_sends_no_dot() -> None:
    """Somebody else has the recipients: the connection ends and nothing is settled."""
    async with SmtpPeer() as peer, Delivering() as world:
        claim = claim_of()
        world.queue.lost.add(claim.attempt_id)
        await world.attempts.run(Running(claim), peer.next_hop())
        await peer.closed.wait()

        assert peer.journal == []
        assert world.queue.settled == []
        assert "lease_lost" in world.log.events


async def test_store_that_cannot_mark_sends_no_dot() -> None:
    """Without a durable marker the message waits."""
    async with SmtpPeer() as peer, Delivering() as world:
        world.queue.faults["mark"] = [StoreUnavailable("busy")]
        (outcome,) = await world.deliver(claim_of(), peer.next_hop())

        assert outcome == Deferred("internal fault (body)")
        assert peer.journal == []


async def test_outcome_waits_for_a_busy_store() -> None:
    """What was delivered is not delivered again because the disk was full for a moment."""
    async with SmtpPeer() as peer, Delivering() as world:
        world.queue.faults["settle"] = [StoreUnavailable("busy")]
        (outcome,) = await world.deliver(claim_of(), peer.next_hop())

        assert isinstance(outcome, Delivered)
        assert world.log.events == ["message_unsigned", "outcome_waited", "attempt_ended"]


@pytest.mark.parametrize("call", ["mark", "settle"])
async def test_broken_store_is_not_survived(call: str) -> None:
    """After a failed fsync nothing goes on as if it had not been."""
    async with SmtpPeer() as peer, Delivering() as world:
        world.queue.faults[call] = [StoreBroken("fsync failed")]
        with pytest.raises(StoreBroken):
            await world.deliver(claim_of(), peer.next_hop())


async def test_silence_after_the_dot_is_doubt() -> None:
    """The peer may have it (RFC 1047)."""
    async with (
        SmtpPeer(answers={"DOT": [SILENT]}) as peer,
        Delivering({"dot_timeout_s": 0.1}) as world,
    ):
        (outcome,) = await world.deliver(claim_of(), peer.next_hop())

        assert outcome == InDoubt("no reply in time")
        assert world.record.phase == "dot"
        assert world.record.transcript.endswith("C: .\n(no reply in time)")


@pytest.mark.parametrize(
    ("point", "has_dot"),
    [
        ("after_connect", False),
        ("after_mail", False),
        ("after_data", False),
        ("during_body", False),
        ("before_marker", False),
        ("after_marker", False),
        ("after_dot", True),
        ("before_outcome", True),
    ],
)
async def test_fault_of_ours_at_every_point(point: str, *, has_dot: bool) -> None:
    """A fault before the dot defers, one after it is doubt, and the next message goes through."""
    async with SmtpPeer() as peer, Delivering() as world:
        failpoints.arm(f"{point}=raise")
        try:
            (outcome,) = await world.deliver(claim_of(), peer.next_hop())
        finally:
            failpoints.disarm()
        again = await world.deliver(claim_of(), peer.next_hop())

        assert isinstance(outcome, InDoubt if has_dot else Deferred)
        assert [type(each) for each in again] == [Delivered]
        assert "attempt_broke" in world.log.events


async def test_cancelled_attempt_sends_no_dot() -> None:
    """A drain in the middle of a message leaves nothing behind at the peer."""
    async with SmtpPeer(reads_content=False) as peer, Delivering() as world:
        message = spooled(world.spool.add(b"some line of text..\r\n" * 300_000))
        running = Running(claim_of(message=message))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(world.attempts.run(running, peer.next_hop()))
            await peer.stalled.wait()
            assert not running.must_end
            task.cancel()

        assert world.queue.settled == []
        assert peer.journal == []
